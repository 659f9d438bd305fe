import type { VolumeClient } from '../../client/types.ts'
import type { DirectoryEntry } from '../../fsnode/protocol/metadata.ts'
import { mode as modes } from '../../fsnode/protocol/posix.ts'
import { maxWriteBytes } from '../protocol/constants.ts'
import type { DirentPacker } from '../protocol/directory.ts'
import type { Listing } from './listing-habits.ts'

/** Entries that one call of the client brings. */
export const entriesPerPage = 1024
/**
 * Pages that a handle keeps: the kernel goes back by at most one reply, whose entries lie in two
 * pages. Those before are loaded again, from the name they began after, if somebody seeks back.
 */
export const pagesPerHandleMax = 3
/** Of a MiB each, kept for the replies to come. */
export const listingBuffersMax = 4

interface Anchor { first: number, after: string }
interface Page extends Anchor { entries: DirectoryEntry[], /** Where the next page begins. */ next: number, done: boolean, parent: number }

/** One pass over a directory. Entries are numbered from 0 in the client's stable order of names. */
class Pages {
  private readonly client: VolumeClient
  private readonly ino: number
  /** Where each page seen so far begins, in ascending order. */
  private readonly anchors: Anchor[] = [{ first: 0, after: '' }]
  private readonly pages: Page[] = []

  constructor (client: VolumeClient, ino: number) {
    this.client = client
    this.ino = ino
  }

  /** The page that holds entry `index`; or, beyond the end, the last page. */
  async pageOf (index: number): Promise<Page> {
    for (;;) {
      const at = this.anchors.findLastIndex((candidate) => candidate.first <= index)
      const page = this.pages.find(({ first }) => first === this.anchors[at]!.first) ?? await this.load(at)
      if (page.done || index < page.next) return page
    }
  }

  private async load (at: number): Promise<Page> {
    const anchor = this.anchors[at]!
    const { entries, done, parent } = await this.client.readdir(this.ino, anchor.after, entriesPerPage)
    const last = entries.at(-1)
    // A page that is loaded again may have shrunk: the next one begins where it did before.
    const next = this.anchors[at + 1]?.first ?? anchor.first + entries.length
    const page = { ...anchor, entries, next, parent, done: done || last === undefined }
    if (last !== undefined && at === this.anchors.length - 1) this.anchors.push({ first: next, after: last.name })
    this.pages.push(page)
    if (this.pages.length > pagesPerHandleMax) this.pages.shift()
    return page
  }
}

/** An open directory. Position 0 is '.', 1 is '..', and 2 + n is entry n; a cookie is the next position. */
export class DirectoryStream {
  readonly ino: number
  /** Of the process that reads it: which entries are given attributes. Null: all. */
  listing: Listing | null = null
  private readonly client: VolumeClient
  private pages: Pages

  constructor (client: VolumeClient, ino: number) {
    this.client = client
    this.ino = ino
    this.pages = new Pages(client, ino)
  }

  /** Fills the packer from `offset` on, until it is full or the directory ends. Offset 0 begins anew. */
  async read (offset: number, packer: DirentPacker): Promise<void> {
    if (offset === 0) this.pages = new Pages(this.client, this.ino)
    const { pages, listing } = this
    for (let position = offset; ;) {
      const page = await pages.pageOf(Math.max(0, position - 2))
      for (; position < 2; position++) {
        const dot = position === 0 ? { name: '.', ino: this.ino } : { name: '..', ino: page.parent }
        if (!packer.add({ ...dot, type: modes.directory, cookie: position + 1 })) return
      }
      const end = Math.min(page.first + page.entries.length, page.next) + 2
      for (; position < end; position++) {
        const entry = page.entries[position - 2 - page.first]!
        const attr = listing === null || listing.wantsAttributes(entry.name, entry.type === modes.directory) ? entry.attr : undefined
        if (!packer.add({ name: entry.name, ino: entry.ino, type: entry.type, attr, cookie: position + 1 })) return
      }
      if (page.done) return
      position = page.next + 2
    }
  }
}

/** Open directories by handle. One that this process does not know (its predecessor opened it) is made on first use. */
export class DirectoryHandles {
  private readonly client: VolumeClient
  private readonly streams = new Map<number, DirectoryStream>()
  /** Programs ask for a MiB at a time, whatever there is: a buffer for each would keep the collector busy. */
  private readonly buffers: Buffer[] = []

  constructor (client: VolumeClient) { this.client = client }

  /** As much as a reply may hold. */
  takeBuffer (): Buffer { return this.buffers.pop() ?? Buffer.allocUnsafeSlow(maxWriteBytes) }

  giveBuffer (buffer: Buffer): void {
    if (this.buffers.length < listingBuffersMax) this.buffers.push(buffer)
  }

  get (fh: number, ino: number): DirectoryStream {
    let stream = this.streams.get(fh)
    if (stream?.ino !== ino) {
      stream = new DirectoryStream(this.client, ino)
      this.streams.set(fh, stream)
    }
    return stream
  }

  release (fh: number): void { this.streams.delete(fh) }
}
