/** Arithmetic of byte ranges, and of buffers that are passed on uncopied. */

export interface ChunkRange {
  chunk: number
  /** Within the chunk. */
  offset: number
  length: number
}

/** The parts of [offset, offset + length) by chunk, none longer than `partMax`. */
export function chunkRanges (offset: number, length: number, chunkSize: number, partMax = Infinity): ChunkRange[] {
  const ranges: ChunkRange[] = []
  for (let at = offset; at < offset + length;) {
    const chunk = Math.floor(at / chunkSize)
    const within = at - chunk * chunkSize
    const part = Math.min(chunkSize - within, offset + length - at, partMax)
    ranges.push({ chunk, offset: within, length: part })
    at += part
  }
  return ranges
}

/** Bytes [start, start + length) of a list of buffers, as slices of them. */
export function sliceBuffers (buffers: readonly Buffer[], start: number, length: number): Buffer[] {
  const slices: Buffer[] = []
  let skip = start
  let left = length
  for (const buffer of buffers) {
    if (left <= 0) break
    if (skip >= buffer.length) {
      skip -= buffer.length
      continue
    }
    const end = Math.min(buffer.length, skip + left)
    slices.push(skip === 0 && end === buffer.length ? buffer : buffer.subarray(skip, end))
    left -= end - skip
    skip = 0
  }
  return slices
}

const zeros = Buffer.alloc(64 * 1024)

/** Adds `length` zero bytes, all from one shared buffer: receivers do not write to what they are given. */
export function pushZeros (buffers: Buffer[], length: number): void {
  for (let left = length; left > 0; left -= zeros.length) buffers.push(left >= zeros.length ? zeros : zeros.subarray(0, left))
}
