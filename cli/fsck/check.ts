import type { VolumeClient } from '../../client/types.ts'
import { eachBounded } from '../../client/parallel.ts'
import { codeOf, messageOf } from '../../fsnode/protocol/errors.ts'
import type { DirectoryEntry, InodeAttr } from '../../fsnode/protocol/metadata.ts'
import { fileType, isRegular, mode as modes } from '../../fsnode/protocol/posix.ts'

/** Something that must not be. Codes are stable. */
export interface Finding {
  code: 'NO_INODE' | 'UNREADABLE' | 'WRONG_TYPE' | 'WRONG_PARENT' | 'SECOND_NAME' | 'LINK_COUNT' | 'SIZE' | 'DATA'
  path: string
  ino: number
  what: string
}

export interface FsckCounts { directories: number, files: number, others: number, bytes: number, bytesRead: number }

export interface CheckResult extends FsckCounts { findings: Finding[] }

export interface CheckInit {
  /** Read every byte of every file. */
  readData: boolean
  onProgress: (text: string) => void
}

const pageEntries = 1000
const requestsAtOnce = 32
const readBytes = 4 * 1024 * 1024
const progressEntries = 1000

/**
 * Walks a volume as every client sees it. What looks wrong is looked at a second time, since others may change names
 * while they are walked; only what is wrong both times is told. Holds some 100 bytes of memory for each inode.
 */
export async function checkVolume (client: VolumeClient, init: CheckInit): Promise<CheckResult> {
  const first = await new Walk(client, init).run()
  if (first.findings.length === 0) return first
  init.onProgress(`looking again at ${first.findings.length} problems`)
  const second = await new Walk(client, init).run()
  const before = new Set(first.findings.map(keyOf))
  return { ...second, findings: second.findings.filter((finding) => before.has(keyOf(finding))) }
}

function keyOf ({ code, path, ino }: Finding): string { return `${code} ${ino} ${path}` }

interface Links { path: string, names: number, nlink: number }
interface Directory { ino: number, path: string, parent: number, nlink: number }

class Walk {
  private readonly client: VolumeClient
  private readonly init: CheckInit
  private readonly findings: Finding[] = []
  private readonly counts: FsckCounts = { directories: 0, files: 0, others: 0, bytes: 0, bytesRead: 0 }
  /** Of everything but directories. */
  private readonly links = new Map<number, Links>()
  private readonly directories = new Map<number, string>()
  private readonly toWalk: Directory[] = []
  private entriesSeen = 0

  constructor (client: VolumeClient, init: CheckInit) {
    this.client = client
    this.init = init
  }

  async run (): Promise<CheckResult> {
    const { root } = this.client
    const { nlink } = await this.client.getattr(root)
    this.meetDirectory({ ino: root, path: '/', parent: root, nlink })
    for (let directory; (directory = this.toWalk.pop()) !== undefined;) await this.walk(directory)
    for (const [ino, { path, names, nlink }] of this.links) {
      if (names !== nlink) this.found('LINK_COUNT', path, ino, `${nlink} links, but ${names} names lead to it`)
    }
    return { ...this.counts, findings: this.findings }
  }

  private async walk (directory: Directory): Promise<void> {
    const { ino, path, parent, nlink } = directory
    let subdirectories = 0
    for (let after = '', done = false; !done;) {
      let page
      try {
        page = await this.client.readdir(ino, after, pageEntries)
      } catch (error) {
        if (codeOf(error) !== 'ENOENT') this.found('UNREADABLE', path, ino, `the directory cannot be read: ${messageOf(error)}`)
        return // removed meanwhile: its own name is looked at where it was found
      }
      if (page.parent !== parent && after === '') this.found('WRONG_PARENT', path, ino, `says that its parent is inode ${page.parent}, but it was found in ${parent}`)
      await eachBounded(page.entries, requestsAtOnce, async (entry) => {
        if (await this.check(directory, entry) === modes.directory) subdirectories++
      })
      after = page.entries.at(-1)?.name ?? after
      done = page.done || page.entries.length === 0
    }
    if (nlink !== 2 + subdirectories) this.found('LINK_COUNT', path, ino, `${nlink} links, but it has ${subdirectories} directories`)
  }

  /** The type of what the name leads to; null when it leads nowhere. */
  private async check (directory: Directory, { name, ino, type, attr: known }: DirectoryEntry): Promise<number | null> {
    const path = `${directory.path === '/' ? '' : directory.path}/${name}`
    if (++this.entriesSeen % progressEntries === 0) this.init.onProgress(`${this.entriesSeen} names, at ${path}`)
    let attr
    try {
      attr = known ?? await this.client.getattr(ino)
    } catch (error) {
      if (codeOf(error) === 'ENOENT') this.found('NO_INODE', path, ino, 'the name leads to no inode')
      else this.found('UNREADABLE', path, ino, `its inode cannot be read: ${messageOf(error)}`)
      return null
    }
    const actual = fileType(attr.mode)
    if (actual !== type) this.found('WRONG_TYPE', path, ino, `the name says type ${type.toString(8)}, the inode ${actual.toString(8)}`)
    if (actual === modes.directory) {
      this.meetDirectory({ ino, path, parent: directory.ino, nlink: attr.nlink })
      return actual
    }
    if (this.meetName(ino, path, attr)) await this.checkContent(path, attr)
    return actual
  }

  private meetDirectory (directory: Directory): void {
    const { ino, path } = directory
    const before = this.directories.get(ino)
    if (before !== undefined) {
      this.found('SECOND_NAME', path, ino, `is the directory ${before}, too`)
      return
    }
    this.directories.set(ino, path)
    this.counts.directories++
    this.toWalk.push(directory)
  }

  /** True for the first name of an inode. */
  private meetName (ino: number, path: string, { nlink }: InodeAttr): boolean {
    const known = this.links.get(ino)
    if (known === undefined) this.links.set(ino, { path, names: 1, nlink })
    else known.names++
    return known === undefined
  }

  private async checkContent (path: string, attr: InodeAttr): Promise<void> {
    const { ino, mode, size, extent } = attr
    if (!isLength(size) || !isLength(extent)) this.found('SIZE', path, ino, `a size of ${size} with content up to ${extent}`)
    if (isRegular(mode)) {
      this.counts.files++
      this.counts.bytes += size
      if (this.init.readData && isLength(size)) await this.read(path, ino, size)
      return
    }
    this.counts.others++
    if (fileType(mode) !== modes.link) return
    try {
      const target = await this.client.readlink(ino)
      if (target === '' || Buffer.byteLength(target) !== size) this.found('SIZE', path, ino, `a size of ${size}, but its target has ${Buffer.byteLength(target)} bytes`)
    } catch (error) {
      this.found('UNREADABLE', path, ino, `its target cannot be read: ${messageOf(error)}`)
    }
  }

  private async read (path: string, ino: number, size: number): Promise<void> {
    let offset = 0
    try {
      const file = await this.client.open(ino, { write: false })
      try {
        while (offset < size) {
          const length = (await file.read(offset, Math.min(readBytes, size - offset))).reduce((sum, piece) => sum + piece.length, 0)
          if (length === 0) break
          offset += length
          this.counts.bytesRead += length
        }
      } finally {
        await file.release()
      }
      if (offset < size) this.found('DATA', path, ino, `ends after ${offset} of ${size} bytes`)
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') this.found('DATA', path, ino, `cannot be read from byte ${offset} on: ${messageOf(error)}`)
    }
  }

  private found (code: Finding['code'], path: string, ino: number, what: string): void {
    this.findings.push({ code, path, ino, what })
  }
}

function isLength (value: number): boolean { return Number.isSafeInteger(value) && value >= 0 }
