import type { InodeAttr } from '../../protocol/metadata.ts'
import { fileType, mode as modes } from '../../protocol/posix.ts'
import { attrOf } from '../records.ts'
import type { MetadataStore } from '../store.ts'
import type { Inode } from '../types.ts'

const empty = Buffer.alloc(0)

/** The whole content of a file that lives in its inode record; undefined for any other. */
export function inlineOf (store: MetadataStore, inode: Inode): Buffer | undefined {
  if (!inode.isInline) return undefined
  return inode.size === 0 ? empty : store.content.get(inode.ino)
}

export function symlinkOf (store: MetadataStore, inode: Inode): string | undefined {
  return fileType(inode.mode) === modes.link ? store.content.get(inode.ino)!.toString() : undefined
}

/** Attributes and, if it is inline, content. */
export function describe (store: MetadataStore, inode: Inode): { attr: InodeAttr, inline?: Buffer } {
  const attr = attrOf(inode)
  const inline = inlineOf(store, inode)
  return inline === undefined ? { attr } : { attr, inline }
}
