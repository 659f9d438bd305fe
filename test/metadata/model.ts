/** A file tree in the most naive way: what the metadata service must be indistinguishable from. */

export interface Node {
  type: 'file' | 'directory' | 'link'
  names: Map<string, Node>
  parent: Node | null
  nlink: number
  mode: number
  content: string
  xattrs: Map<string, string>
}

export class Model {
  readonly root = newNode('directory', null)

  constructor () { this.root.parent = this.root }

  create (dir: Node, name: string, type: Node['type'], content = ''): Node | string {
    const fault = this.live(dir) ?? (dir.type !== 'directory' ? 'ENOTDIR' : dir.names.has(name) ? 'EEXIST' : null)
    if (fault !== null) return fault
    const node = newNode(type, type === 'directory' ? dir : null)
    node.content = content
    dir.names.set(name, node)
    if (type === 'directory') dir.nlink++
    return node
  }

  link (node: Node, dir: Node, name: string): Node | string {
    const fault = this.live(dir) ?? (dir.names.has(name) ? 'EEXIST' : node.nlink === 0 ? 'ENOENT' : node.type === 'directory' ? 'EPERM' : null)
    if (fault !== null) return fault
    dir.names.set(name, node)
    node.nlink++
    return node
  }

  unlink (dir: Node, name: string): Node | string {
    const node = this.live(dir) ?? dir.names.get(name) ?? 'ENOENT'
    if (typeof node === 'string') return node
    if (node.type === 'directory') return 'EISDIR'
    dir.names.delete(name)
    node.nlink--
    return node
  }

  rmdir (dir: Node, name: string): Node | string {
    const node = this.live(dir) ?? dir.names.get(name) ?? 'ENOENT'
    if (typeof node === 'string') return node
    if (node.type !== 'directory') return 'ENOTDIR'
    if (node.names.size > 0) return 'ENOTEMPTY'
    this.drop(dir, name, node)
    return node
  }

  rename (dir: Node, name: string, newDir: Node, newName: string, flags: number): Node | string {
    const node = this.live(dir) ?? this.live(newDir) ?? dir.names.get(name) ?? 'ENOENT'
    if (typeof node === 'string') return node
    const target = newDir.names.get(newName)
    if (flags === 2 && target === undefined) return 'ENOENT'
    if (flags === 1 && target !== undefined) return 'EEXIST'
    if (target === node) return node
    if (flags !== 2 && target !== undefined) {
      if (node.type === 'directory' && target.type !== 'directory') return 'ENOTDIR'
      if (node.type !== 'directory' && target.type === 'directory') return 'EISDIR'
    }
    if (isWithin(newDir, node) || (flags === 2 && isWithin(dir, target!))) return 'EINVAL'
    if (flags !== 2 && target !== undefined) {
      if (target.names.size > 0) return 'ENOTEMPTY'
      if (target.type === 'directory') this.drop(newDir, newName, target)
      else target.nlink--
    }
    this.place(dir, name, flags === 2 ? target! : null, node)
    this.place(newDir, newName, node, flags === 2 ? target! : null)
    return node
  }

  live (node: Node): string | null { return node.nlink === 0 ? 'ENOENT' : null }

  private place (dir: Node, name: string, node: Node | null, former: Node | null): void {
    if (former?.type === 'directory') dir.nlink--
    if (node === null) {
      dir.names.delete(name)
      return
    }
    dir.names.set(name, node)
    if (node.type !== 'directory') return
    dir.nlink++
    node.parent = dir
  }

  private drop (dir: Node, name: string, node: Node): void {
    dir.names.delete(name)
    dir.nlink--
    node.nlink = 0
  }
}

function newNode (type: Node['type'], parent: Node | null): Node {
  return { type, names: new Map(), parent, nlink: type === 'directory' ? 2 : 1, mode: 0o644, content: '', xattrs: new Map() }
}

function isWithin (directory: Node, node: Node): boolean {
  for (let at = directory; ; at = at.parent!) {
    if (at === node) return true
    if (at.parent === at) return false
  }
}
