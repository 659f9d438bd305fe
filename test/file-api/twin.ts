import { expect } from 'chai'
import { createReadStream, createWriteStream, existsSync } from 'node:fs'
import * as promises from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { VolumeFileSystem } from '../../client/file-api/mounted-volume.ts'
import type { MountedVolume } from '../../client/file-api/types.ts'
import { systemClock } from '../../fsnode/protocol/system.ts'
import { MemoryVolume } from '../fuse/memory-volume.ts'

/** One of two file systems that run the same script: Node's own, in a temporary directory, and a mounted volume. */
export class Side {
  readonly fs: MountedVolume
  readonly log: unknown[] = []
  private readonly root: string

  constructor (fs: MountedVolume, root = '') {
    this.fs = fs
    this.root = root
  }

  /** Where a path of the script is. */
  at (path: string): string { return this.root + path }

  note (value: unknown): void { this.log.push(plain(value, this.root)) }

  /** Notes how a call ends; resolves with what it resolves with, or undefined. */
  async try<T> (call: Promise<T> | (() => Promise<T>)): Promise<T | undefined> {
    try {
      const value = await (typeof call === 'function' ? call() : call)
      this.note(value)
      return value
    } catch (error) {
      this.note(error)
      return undefined
    }
  }

  /** Notes all of a tree that its modes let the owner see. */
  async noteTree (path = '/'): Promise<void> {
    for (const entry of (await this.fs.readdir(this.at(path), { withFileTypes: true })).sort((one, other) => one.name < other.name ? -1 : 1)) {
      const below = path === '/' ? `/${entry.name}` : `${path}/${entry.name}`
      const stats = await this.fs.lstat(this.at(below))
      this.note([below, entry, stats])
      if ((stats.mode & ownerReads) === 0) continue
      if (entry.isDirectory()) await this.noteTree(below)
      else if (entry.isSymbolicLink()) this.note(await this.fs.readlink(this.at(below)))
      else this.note(await this.fs.readFile(this.at(below)))
    }
  }
}

/** In memory where there is such a place: thousands of small files are made and removed. */
const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
const ownerReads = 0o400
/** Shown before the first note that differs. */
const contextNotes = 3

export type Script = (side: Side) => Promise<void>

/** Runs the script on both sides and compares all that was noted. */
export function same (title: string, script: Script): void {
  it(title, async () => { await compare(script) })
}

export async function compare (script: Script, mounted: Side = new Side(memoryVolume()), run: <T>(work: Promise<T>) => Promise<T> = (work) => work): Promise<void> {
  const node = await onNode(script)
  expect(node.length, 'the script notes something').to.be.greaterThan(0)
  await run(mounted.fs.chown('/', process.getuid!(), process.getgid!()))
  await run(script(mounted))
  for (const [index, noted] of node.entries()) {
    if (!isDeepStrictEqual(mounted.log[index], noted)) expect(mounted.log.slice(Math.max(0, index - contextNotes), index + 1)).to.deep.equal(node.slice(Math.max(0, index - contextNotes), index + 1))
  }
  expect(mounted.log.length).to.equal(node.length)
}

export function memoryVolume (volume = new MemoryVolume({ clock: systemClock })): MountedVolume {
  return new VolumeFileSystem({ volume }, { dev: 7 })
}

async function onNode (script: Script): Promise<unknown[]> {
  const root = await promises.mkdtemp(join(await promises.realpath(base), 'file-api-'))
  try {
    await promises.chmod(root, 0o755)
    const side = new Side({ ...promises, createReadStream, createWriteStream } as unknown as MountedVolume, root)
    await script(side)
    return side.log
  } finally {
    await promises.rm(root, { recursive: true, force: true })
  }
}

const kinds = ['isFile', 'isDirectory', 'isSymbolicLink', 'isFIFO', 'isSocket', 'isCharacterDevice', 'isBlockDevice'] as const

/** What must be the same, without what may not: where the root is, times, and what only file systems on disks know. */
function plain (value: any, root: string): unknown {
  const inner = (part: unknown): unknown => plain(part, root)
  if (typeof value === 'string') return root === '' ? value : value === root ? '/' : value.replaceAll(root, '')
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Error) return plainError(value as NodeJS.ErrnoException, inner)
  if (ArrayBuffer.isView(value)) return { bytes: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('latin1') }
  if (value instanceof Date) return value.getTime()
  if (Array.isArray(value)) return value.map(inner)
  if (typeof value.isFile === 'function') {
    const kind = kinds.filter((each) => value[each]())
    if (value.mode === undefined) return { kind, name: inner(value.name), parentPath: inner(value.parentPath) }
    const { mode, uid, gid, nlink, size } = value
    return { kind, mode, uid, gid, ...(value.isFile() ? { nlink, size } : {}) }
  }
  if (typeof value.datasync === 'function') return 'a file handle'
  if (typeof value.read === 'function') return { directory: inner(value.path) }
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, inner(part)]))
}

function plainError (error: NodeJS.ErrnoException & { dest?: string }, inner: (part: unknown) => unknown): unknown {
  const { name, code, errno, syscall, path, dest } = error
  // The arguments' checks are Node's own: what they say is not repeated word for word, what they are called is.
  const message = code?.startsWith('ERR_') === true || code === undefined ? '' : inner(error.message)
  return { name, code, errno, syscall, path: inner(path), dest: inner(dest), message }
}
