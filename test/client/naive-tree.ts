/** A file system so simple that it must be right: what the client is compared with. */
export interface NaiveNode {
  kind: 'file' | 'dir'
  mode: number
  names: Map<string, NaiveNode>
  bytes: Buffer
  links: number
}

export class NaiveTree {
  readonly root = makeNode('dir', 0o755)

  create (dir: NaiveNode, name: string, mode: number, exclusive: boolean): NaiveNode {
    const known = dir.names.get(name)
    if (known !== undefined) {
      if (exclusive) throw fault('EEXIST')
      if (known.kind === 'dir') throw fault('EISDIR')
      return known
    }
    const node = makeNode('file', mode)
    dir.names.set(name, node)
    node.links = 1
    return node
  }

  mkdir (dir: NaiveNode, name: string, mode: number): NaiveNode {
    if (dir.names.has(name)) throw fault('EEXIST')
    const node = makeNode('dir', mode)
    node.links = 2
    dir.names.set(name, node)
    dir.links++
    return node
  }

  lookup (dir: NaiveNode, name: string): NaiveNode {
    const node = dir.names.get(name)
    if (node === undefined) throw fault('ENOENT')
    return node
  }

  unlink (dir: NaiveNode, name: string): void {
    const node = this.lookup(dir, name)
    if (node.kind === 'dir') throw fault('EISDIR')
    dir.names.delete(name)
    node.links--
  }

  rmdir (dir: NaiveNode, name: string): void {
    const node = this.lookup(dir, name)
    if (node.kind !== 'dir') throw fault('ENOTDIR')
    if (node.names.size > 0) throw fault('ENOTEMPTY')
    dir.names.delete(name)
    node.links = 0
    dir.links--
  }

  link (node: NaiveNode, dir: NaiveNode, name: string): void {
    if (dir.names.has(name)) throw fault('EEXIST')
    dir.names.set(name, node)
    node.links++
  }

  rename (dir: NaiveNode, name: string, newDir: NaiveNode, newName: string, flags: number): void {
    const node = this.lookup(dir, name)
    const target = newDir.names.get(newName)
    if (flags === 1 && target !== undefined) throw fault('EEXIST')
    if (flags === 2 && target === undefined) throw fault('ENOENT')
    if (node === target) return
    if (flags !== 2 && target !== undefined) {
      if (node.kind === 'dir' && target.kind !== 'dir') throw fault('ENOTDIR')
      if (node.kind !== 'dir' && target.kind === 'dir') throw fault('EISDIR')
    }
    if (this.holds(node, newDir) || (flags === 2 && this.holds(target!, dir))) throw fault('EINVAL')
    if (flags !== 2 && target !== undefined) {
      if (target.names.size > 0) throw fault('ENOTEMPTY')
      this.drop(newDir, target)
    }
    dir.names.delete(name)
    if (flags === 2) dir.names.set(name, target!)
    newDir.names.set(newName, node)
    if (node.kind === 'dir') { dir.links--; newDir.links++ }
    if (flags === 2 && target!.kind === 'dir') { newDir.links--; dir.links++ }
  }

  write (node: NaiveNode, offset: number, data: Buffer): void {
    if (offset + data.length > node.bytes.length) this.resize(node, offset + data.length)
    data.copy(node.bytes, offset)
  }

  resize (node: NaiveNode, size: number): void {
    const bytes = Buffer.alloc(size)
    node.bytes.copy(bytes)
    node.bytes = bytes
  }

  private drop (dir: NaiveNode, node: NaiveNode): void {
    if (node.kind === 'dir') { dir.links--; node.links = 0 } else node.links--
  }

  private holds (ancestor: NaiveNode, node: NaiveNode): boolean {
    return ancestor === node || [...ancestor.names.values()].some((child) => child.kind === 'dir' && this.holds(child, node))
  }
}

function makeNode (kind: NaiveNode['kind'], mode: number): NaiveNode {
  return { kind, mode, names: new Map(), bytes: Buffer.alloc(0), links: 2 }
}

function fault (code: string): Error & { code: string } { return Object.assign(new Error(code), { code }) }
