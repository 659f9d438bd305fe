import type { Call, Entry, Outcome, Result } from '../history.ts'

/** An inode of the model; `ino` null: made by a call whose outcome nobody saw, its number is still to be learned. */
export interface ModelInode {
  readonly ino: number | null
  readonly directory: boolean
  readonly nlink: number
  /** Names to keys of inodes; of directories. */
  readonly names: ReadonlyMap<string, number>
}

/** Inodes that have names, by a key of the model's own. Never changed: each step makes a new one. */
export interface Tree { readonly inodes: ReadonlyMap<number, ModelInode>, readonly nextKey: number }

const rootKey = 1
const noNames: ReadonlyMap<string, number> = new Map()

export const emptyTree: Tree = {
  inodes: new Map([[rootKey, { ino: 1, directory: true, nlink: 2, names: noNames }]]), nextKey: 2
}

/** States that differ only in keys are the same. */
export function keyOfTree (tree: Tree): string {
  const parts: string[] = []
  const order = new Map<number, number>()
  const visit = (key: number): void => {
    const known = order.get(key)
    if (known !== undefined) {
      parts.push(`=${known}`)
      return
    }
    order.set(key, order.size)
    const { ino, nlink, names, directory } = tree.inodes.get(key)!
    parts.push(`${ino ?? '?'}.${nlink}`)
    if (!directory) return
    parts.push('(')
    for (const name of [...names.keys()].sort()) {
      parts.push(name)
      visit(names.get(name)!)
    }
    parts.push(')')
  }
  visit(rootKey)
  return parts.join(' ')
}

/** The states to which the call leads if its outcome is this one. */
export function applyToTree (tree: Tree, call: Call, outcome: Outcome, result: Result, code: string | undefined): Tree[] {
  const draft = new Draft(tree)
  // What is not certain has the number that was told, if it happened at all.
  const told = result.created === false ? undefined : result.ino
  const faults = perform(draft, call, outcome === 'well' ? result : null, told)
  if (faults === null) return [] // the result is not what the model gives
  if (outcome === 'refused') return faults.includes(code!) || code === 'ENOSPC' ? [tree] : []
  if (faults.length > 0) return outcome === 'unknown' ? [tree] : []
  return [draft.tree]
}

/** Faults that the call meets, any of which may be told; null: its result contradicts the model. `result` null: not known, but perhaps the number. */
function perform (draft: Draft, call: Call, result: Result | null, told: number | undefined): string[] | null {
  switch (call.kind) {
    case 'lookup': return draft.lookup(call.dir, call.name, result)
    case 'getattr': return draft.getattr(call.ino, result)
    case 'readdir': return draft.readdir(call.dir, result)
    case 'create': return draft.create(call.dir, call.name, false, call.exclusive, result, told)
    case 'mkdir': return draft.create(call.dir, call.name, true, true, result, told)
    case 'unlink': return draft.remove(call.dir, call.name, false)
    case 'rmdir': return draft.remove(call.dir, call.name, true)
    case 'rename': return draft.rename(call, call.flags)
    case 'link': return draft.link(call.ino, call.dir, call.name)
    default: return []
  }
}

const gone = ['ENOENT', 'ESTALE']

/** A tree under change: inodes are copied when they are first changed. */
class Draft {
  private readonly inodes: Map<number, ModelInode>
  private nextKey: number

  constructor (tree: Tree) {
    this.inodes = new Map(tree.inodes)
    this.nextKey = tree.nextKey
  }

  get tree (): Tree { return { inodes: this.inodes, nextKey: this.nextKey } }

  lookup (dir: number, name: string, result: Result | null): string[] | null {
    const parent = this.directory(dir)
    if (typeof parent === 'string') return parent === 'ENOENT' ? gone : [parent]
    const key = this.inodes.get(parent)!.names.get(name)
    if (key === undefined) return ['ENOENT']
    return result === null || this.is(key, result.ino!, result.directory!) ? [] : null
  }

  getattr (ino: number, result: Result | null): string[] | null {
    const key = this.find(ino)
    // Somebody may have it open still.
    if (key === undefined) return result === null ? gone : result.nlink === 0 ? [] : null
    return result === null || result.nlink === this.inodes.get(key)!.nlink ? [] : null
  }

  readdir (dir: number, result: Result | null): string[] | null {
    const key = this.directory(dir)
    if (typeof key === 'string') return key === 'ENOENT' ? gone : [key]
    const { names } = this.inodes.get(key)!
    return result === null || (names.size === result.entries!.length && result.entries!.every((entry) => this.holds(names, entry))) ? [] : null
  }

  create (dir: number, name: string, directory: boolean, exclusive: boolean, result: Result | null, told: number | undefined): string[] | null {
    const parent = this.directory(dir)
    if (typeof parent === 'string') return parent === 'ENOENT' ? gone : [parent]
    const known = this.inodes.get(parent)!.names.get(name)
    if (known !== undefined) {
      if (exclusive) return ['EEXIST']
      if (this.inodes.get(known)!.directory) return ['EISDIR', 'EEXIST']
      return result === null || (result.created !== true && this.is(known, result.ino!, false)) ? [] : null
    }
    if (result !== null && (result.created === false || this.find(result.ino!) !== undefined)) return null
    const key = this.nextKey++
    const ino = told === undefined || this.find(told) !== undefined ? null : told
    this.inodes.set(key, { ino, directory, nlink: directory ? 2 : 1, names: noNames })
    this.setName(parent, name, key)
    if (directory) this.addLinks(parent, 1)
    return []
  }

  remove (dir: number, name: string, directory: boolean): string[] {
    const parent = this.directory(dir)
    if (typeof parent === 'string') return parent === 'ENOENT' ? gone : [parent]
    const key = this.inodes.get(parent)!.names.get(name)
    if (key === undefined) return ['ENOENT']
    const inode = this.inodes.get(key)!
    if (inode.directory !== directory) return [directory ? 'ENOTDIR' : 'EISDIR']
    if (inode.names.size > 0) return ['ENOTEMPTY']
    this.setName(parent, name, null)
    this.drop(parent, key)
    return []
  }

  rename ({ dir, name, newDir, newName }: { dir: number, name: string, newDir: number, newName: string }, flags: number): string[] {
    const [from, to] = [this.directory(dir), this.directory(newDir)]
    if (typeof from === 'string' || typeof to === 'string') return [from, to].flatMap((fault) => fault === 'ENOENT' ? gone : typeof fault === 'string' ? [fault] : [])
    const key = this.inodes.get(from)!.names.get(name)
    const target = this.inodes.get(to)!.names.get(newName)
    if (key === undefined) return ['ENOENT']
    const faults = this.renameFaults(key, target, from, to, flags)
    if (faults.length > 0 || key === target) return faults
    const exchange = (flags & 2) !== 0
    if (!exchange && target !== undefined) this.drop(to, target)
    this.setName(from, name, exchange ? target! : null)
    this.setName(to, newName, key)
    const moved = (this.inodes.get(key)!.directory ? 1 : 0) - (exchange && this.inodes.get(target!)!.directory ? 1 : 0)
    this.addLinks(from, -moved)
    this.addLinks(to, moved)
    return []
  }

  link (ino: number, dir: number, name: string): string[] {
    const parent = this.directory(dir)
    const key = this.find(ino)
    const faults: string[] = []
    if (typeof parent === 'string') faults.push(...(parent === 'ENOENT' ? gone : [parent]))
    else if (this.inodes.get(parent)!.names.has(name)) faults.push('EEXIST')
    if (key === undefined) faults.push(...gone)
    else if (this.inodes.get(key)!.directory) faults.push('EPERM')
    if (faults.length > 0) return faults
    this.setName(parent as number, name, key!)
    this.addLinks(key!, 1)
    return []
  }

  private renameFaults (key: number, target: number | undefined, from: number, to: number, flags: number): string[] {
    const exchange = (flags & 2) !== 0
    if ((flags & 1) !== 0 && target !== undefined) return ['EEXIST']
    if (exchange && target === undefined) return ['ENOENT']
    if (key === target) return []
    const inode = this.inodes.get(key)!
    const faults: string[] = []
    if (this.isWithin(key, to) || (exchange && this.isWithin(target!, from))) faults.push('EINVAL')
    if (exchange || target === undefined) return faults
    const replaced = this.inodes.get(target)!
    if (inode.directory && !replaced.directory) faults.push('ENOTDIR')
    if (!inode.directory && replaced.directory) faults.push('EISDIR')
    if (replaced.names.size > 0) faults.push('ENOTEMPTY')
    return faults
  }

  /** Whether directory `key` is `below` or above it. */
  private isWithin (key: number, below: number): boolean {
    if (key === below) return true
    const inode = this.inodes.get(key)!
    return inode.directory && [...inode.names.values()].some((child) => this.inodes.get(child)!.directory && this.isWithin(child, below))
  }

  private find (ino: number): number | undefined {
    for (const [key, inode] of this.inodes) if (inode.ino === ino) return key
    return undefined
  }

  private directory (ino: number): number | string {
    const key = this.find(ino)
    if (key === undefined) return 'ENOENT'
    return this.inodes.get(key)!.directory ? key : 'ENOTDIR'
  }

  /** Whether the inode can be the one that was seen; if its number was not known, it is now. */
  private is (key: number, ino: number, directory: boolean): boolean {
    const inode = this.inodes.get(key)!
    if (inode.directory !== directory) return false
    if (inode.ino !== null) return inode.ino === ino
    if (this.find(ino) !== undefined) return false
    this.inodes.set(key, { ...inode, ino })
    return true
  }

  private holds (names: ReadonlyMap<string, number>, { name, ino, directory }: Entry): boolean {
    const key = names.get(name)
    return key !== undefined && this.is(key, ino, directory)
  }

  private setName (dir: number, name: string, key: number | null): void {
    const inode = this.inodes.get(dir)!
    const names = new Map(inode.names)
    if (key === null) names.delete(name)
    else names.set(name, key)
    this.inodes.set(dir, { ...inode, names })
  }

  private addLinks (key: number, change: number): void {
    if (change === 0) return
    const inode = this.inodes.get(key)!
    this.inodes.set(key, { ...inode, nlink: inode.nlink + change })
  }

  /** One name fewer, in `parent`. */
  private drop (parent: number, key: number): void {
    const inode = this.inodes.get(key)!
    if (inode.directory) this.addLinks(parent, -1)
    if (inode.directory || inode.nlink === 1) this.inodes.delete(key)
    else this.addLinks(key, -1)
  }
}
