/** Part of a file. Bytes there are what they were while `guard` is at `guardAt`: whoever overwrites the part overwrites that first. */
export interface FilePart { position: number, length: number, guardAt: number, guard: Uint8Array }

/** Where bytes lie that follow one another in memory. */
export interface FilePlace { path: string, /** Of the file. */ device: number, inode: number, parts: readonly FilePart[] }

interface Known { place: FilePlace, start: number, end: number }

/** By memory; what is in it may be in a file, too. */
const known = new WeakMap<ArrayBufferLike, Known>()

/** What is in the buffer is in a file, too, until `lieNowhere`. Of each piece of memory only the last buffer is known. */
export function lieInFile (bytes: Buffer, place: FilePlace): void {
  known.set(bytes.buffer, { place, start: bytes.byteOffset, end: bytes.byteOffset + bytes.length })
}

/** The buffer is about to be used for something else. */
export function lieNowhere (bytes: Buffer): void { known.delete(bytes.buffer) }

/** null: not known. */
export function placeOf (bytes: Buffer): FilePlace | null {
  const found = known.get(bytes.buffer)
  if (found === undefined || bytes.byteOffset < found.start || bytes.byteOffset + bytes.length > found.end) return null
  const { place, start } = found
  return { ...place, parts: within(place.parts, bytes.byteOffset - start, bytes.length) }
}

function within (parts: readonly FilePart[], from: number, length: number): FilePart[] {
  const to = from + length
  const found: FilePart[] = []
  let at = 0
  for (const part of parts) {
    const [first, last] = [Math.max(from, at), Math.min(to, at + part.length)]
    if (first < last) found.push({ ...part, position: part.position + first - at, length: last - first })
    at += part.length
  }
  return found
}
