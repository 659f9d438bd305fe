// shell: reads files of this machine.
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { bulkBuffers } from './buffer-pool.ts'
import { AtollError, messageOf } from './errors.ts'
import { payloadBytesMax } from './frame.ts'
import { lieInFile, placeOf, type FilePart, type FilePlace } from './file-places.ts'

/** A payload that its receiver reads from a file of this machine. */
export interface PayloadReference extends Omit<FilePlace, 'parts'> {
  parts: Array<[position: number, length: number, guardAt: number, guard: Uint8Array]>
}

/** Less travels with its message. */
export const referredBytesMin = 64 * 1024
const partsMax = 256
const guardBytesMax = 64
/** Files that are kept open, and for how long after the last use. */
const filesMax = 16
const fileIdleMs = 5_000

interface OpenFile { fd: number, device: number, inode: number, usedAtMs: number }

const files = new Map<string, OpenFile>()
let timer: NodeJS.Timeout | null = null

/** null: it is small, or not all of it is in one file. */
export function referenceTo (payload: readonly Buffer[]): PayloadReference | null {
  let reference: PayloadReference | null = null
  let bytes = 0
  for (const part of payload) {
    const place = placeOf(part)
    if (place === null || (reference !== null && !isSameFile(place, reference))) return null
    reference ??= { ...place, parts: [] }
    for (const { position, length, guardAt, guard } of place.parts) reference.parts.push([position, length, guardAt, guard])
    bytes += part.length
  }
  return bytes < referredBytesMin ? null : reference
}

/**
 * The bytes, in one of `bulkBuffers`, which can be referred to again. As when they are received from a socket, the copy is made at once, so that
 * what comes behind on the same connection stays behind.
 * @throws AtollError ATOLL_PAYLOAD_LOST: they are not there (any more), or this process may not read them; ATOLL_BAD_MESSAGE.
 */
export function readReferred (reference: unknown): Buffer {
  const place = sound(reference)
  const { path, parts } = place
  const bytes = bulkBuffers.take(parts.reduce((sum, { length }) => sum + length, 0))
  try {
    const fd = opened(place)
    let at = 0
    for (const { position, length } of parts) at += filled(fd, bytes.subarray(at, at + length), position)
    for (const { guardAt, guard } of parts) requireGuard(fd, guard, guardAt)
  } catch (error) {
    bulkBuffers.give(bytes)
    throw new AtollError('ATOLL_PAYLOAD_LOST', `what ${path} is said to hold cannot be read: ${messageOf(error)}`)
  }
  lieInFile(bytes, place)
  return bytes
}

function filled (fd: number, into: Buffer, position: number): number {
  for (let at = 0; at < into.length;) {
    const count = readSync(fd, into, at, into.length - at, position + at)
    if (count === 0) throw new Error('it has ended')
    at += count
  }
  return into.length
}

function requireGuard (fd: number, guard: Uint8Array, position: number): void {
  const found = Buffer.allocUnsafe(guard.length)
  filled(fd, found, position)
  if (!found.equals(guard)) throw new Error('it was overwritten')
}

/** Only the user's own files: nobody gets another one's bytes into a chunk. */
function opened ({ path, device, inode }: FilePlace): number {
  let file = files.get(path)
  if (file !== undefined && (file.device !== device || file.inode !== inode)) {
    close(path, file)
    file = undefined
  }
  if (file === undefined) {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    const found = fstatSync(fd)
    if (!found.isFile() || found.uid !== process.geteuid?.() || found.dev !== device || found.ino !== inode) {
      closeSync(fd)
      throw new Error('it is another file')
    }
    file = { fd, device, inode, usedAtMs: 0 }
    files.set(path, file)
    for (const [other, oldest] of files) if (files.size > filesMax) close(other, oldest)
  }
  file.usedAtMs = performance.now()
  timer ??= setTimeout(closeIdle, fileIdleMs).unref()
  return file.fd
}

function closeIdle (): void {
  timer = null
  const before = performance.now() - fileIdleMs
  for (const [path, file] of files) if (file.usedAtMs <= before) close(path, file)
  if (files.size > 0) timer = setTimeout(closeIdle, fileIdleMs).unref()
}

function close (path: string, { fd }: OpenFile): void {
  files.delete(path)
  closeSync(fd)
}

function sound (reference: unknown): FilePlace {
  const { path, device, inode, parts } = (reference ?? {}) as Partial<PayloadReference>
  const isSound = typeof path === 'string' && isPlace(device) && isPlace(inode) && Array.isArray(parts) && parts.length > 0 && parts.length <= partsMax && parts.every((part) => {
    if (!Array.isArray(part)) return false
    const [position, length, guardAt, guard] = part
    return isPlace(position) && isPlace(length) && length > 0 && isPlace(guardAt) && guard instanceof Uint8Array && guard.length <= guardBytesMax
  }) && parts.reduce((sum, [, length]) => sum + length, 0) <= payloadBytesMax
  if (!isSound) throw new AtollError('ATOLL_BAD_MESSAGE', 'a payload is said to be nowhere')
  return { path, device, inode, parts: parts.map(([position, length, guardAt, guard]): FilePart => ({ position, length, guardAt, guard })) }
}

function isSameFile (one: Omit<FilePlace, 'parts'>, other: Omit<FilePlace, 'parts'>): boolean {
  return one.path === other.path && one.device === other.device && one.inode === other.inode
}

function isPlace (value: unknown): value is number { return Number.isSafeInteger(value) && (value as number) >= 0 }
