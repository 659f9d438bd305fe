import type { OpenFile, StatFs, VolumeClient } from '../client/types.ts'
import { posixError } from '../fsnode/protocol/errors.ts'
import type { InodeAttr } from '../fsnode/protocol/metadata.ts'
import { startMount, type StartedMount } from '../fuse/mount/start.ts'

/**
 * A file system that costs nothing: every file whose name begins with "big" exists and is full of
 * zeros, others exist once they were created, and writes are dropped. Through the same driver and
 * dispatcher as a real volume: what it reaches is what the machine's FUSE allows.
 */
export function mountNull (mountPoint: string): Promise<StartedMount> {
  return startMount({ mountPoint, factory: import.meta.url, options: null, journal: false, source: 'null' })
}

export const bigFileBytes = 2 ** 40

/** The factory module of the mount: this module. */
export async function createVolumeClient (): Promise<VolumeClient> { return new NullVolume() }

const rootIno = 1
const megabyte = 1 << 20
const zeros = Buffer.alloc(megabyte)
const emptyStatfs: StatFs = { blocks: 1 << 28, blocksFree: 1 << 28, blocksAvailable: 1 << 28, files: 1 << 28, filesFree: 1 << 28, blockSize: 4096, nameLengthMax: 255 }

function attrOf (ino: number, mode: number, size: number): InodeAttr {
  return { ino, mode, nlink: 1, uid: 0, gid: 0, rdev: 0, size, extent: 0, isInline: false, atime: 0n, mtime: 0n, ctime: 0n, version: 1 }
}

class NullFile implements OpenFile {
  readonly ino: number
  constructor (ino: number) { this.ino = ino }
  async read (offset: number, length: number): Promise<Buffer[]> {
    const pieces: Buffer[] = []
    for (let left = Math.max(0, Math.min(length, bigFileBytes - offset)); left > 0; left -= megabyte) pieces.push(zeros.subarray(0, Math.min(left, megabyte)))
    return pieces
  }
  async write (): Promise<void> {}
  async flush (): Promise<void> {}
  async sync (): Promise<void> {}
  async release (): Promise<void> {}
}

class NullVolume implements VolumeClient {
  readonly root = rootIno
  readonly chunkSizeBytes = 4 * megabyte
  onInvalidate: VolumeClient['onInvalidate'] = null
  private nextIno = rootIno + 1
  private readonly names = new Map<string, number>()
  private readonly big = new Set<number>()

  async lookup (_dir: number, name: string): Promise<InodeAttr> {
    let ino = this.names.get(name)
    if (ino === undefined) {
      if (!name.startsWith('big')) throw posixError('ENOENT')
      ino = this.add(name)
      this.big.add(ino)
    }
    return await this.getattr(ino)
  }
  async getattr (ino: number): Promise<InodeAttr> {
    return ino === rootIno ? attrOf(ino, 0o040755, 4096) : attrOf(ino, 0o100644, this.big.has(ino) ? bigFileBytes : 0)
  }
  async setattr (ino: number): Promise<InodeAttr> { return await this.getattr(ino) }
  async readdir (): ReturnType<VolumeClient['readdir']> { return { entries: [], done: true, parent: rootIno } }
  async open (ino: number): Promise<OpenFile> { return new NullFile(ino) }
  async create (_dir: number, name: string): ReturnType<VolumeClient['create']> {
    const ino = this.add(name)
    return { attr: await this.getattr(ino), file: new NullFile(ino), created: true }
  }
  async mkdir (_dir: number, name: string, mode: number): Promise<InodeAttr> { return attrOf(this.add(name), 0o040000 | mode, 4096) }
  async mknod (_dir: number, name: string): Promise<InodeAttr> { return await this.getattr(this.add(name)) }
  async symlink (): Promise<InodeAttr> { throw posixError('EOPNOTSUPP') }
  async link (): Promise<InodeAttr> { throw posixError('EOPNOTSUPP') }
  async readlink (): Promise<string> { throw posixError('EINVAL') }
  async unlink (_dir: number, name: string): Promise<void> { this.names.delete(name) }
  async rmdir (_dir: number, name: string): Promise<void> { this.names.delete(name) }
  async rename (_dir: number, name: string, _newDir: number, newName: string): Promise<void> {
    this.names.set(newName, this.names.get(name) ?? this.add(newName))
    this.names.delete(name)
  }
  async getxattr (): Promise<Buffer> { throw posixError('ENODATA') }
  async setxattr (): Promise<void> { throw posixError('EOPNOTSUPP') }
  async listxattr (): Promise<string[]> { return [] }
  async removexattr (): Promise<void> { throw posixError('ENODATA') }
  forget (): void {}
  async syncNames (): Promise<void> {}

  async statfs (): Promise<StatFs> { return emptyStatfs }
  async sync (): Promise<void> {}
  async close (): Promise<void> {}

  private add (name: string): number {
    const ino = this.nextIno++
    this.names.set(name, ino)
    return ino
  }
}
