import { SliceReader } from './block-sums.ts'
import { blockBytes, blockCount } from './chunk-header.ts'

/** Part of a write to a chunk. */
export interface Range { offset: number, length: number, data: readonly Buffer[] }

/** Neighbouring blocks that are read and written together, and the ranges within them. */
export interface BlockRun { first: number, end: number, ranges: Range[] }

/** Untouched blocks between two touched ones up to which they are one run: reading on is cheaper than another call. */
export const runGapBlocksMax = 3
/** Blocks of a run, so that it fits a pooled buffer. */
export const runBlocksMax = 32

/** The ranges of a scattered write: `extents` holds offset and length of each in turn. */
export function rangesOf (extents: readonly number[], payload: readonly Buffer[]): Range[] {
  const reader = new SliceReader(payload)
  const ranges: Range[] = []
  for (let index = 0; index < extents.length; index += 2) {
    const length = extents[index + 1]!
    ranges.push({ offset: extents[index]!, length, data: reader.take(length) })
  }
  return ranges
}

/** Where a write ends, in bytes of the chunk. */
export function endOf ({ offset, extents }: { offset: number, extents?: number[] }, bytes: number): number {
  if (extents === undefined) return offset + bytes
  let end = 0
  for (let index = 0; index < extents.length; index += 2) end = Math.max(end, extents[index]! + extents[index + 1]!)
  return end
}

export function touchedBlocks (ranges: readonly Range[]): number[] {
  const blocks = new Set<number>()
  for (const { offset, length } of ranges) {
    for (let block = Math.floor(offset / blockBytes); block < blockCount(offset + length); block++) blocks.add(block)
  }
  return [...blocks]
}

/** Cuts ranges into runs of blocks, in order of their place. A range longer than a run makes one of its own length. */
export function blockRuns (ranges: readonly Range[]): BlockRun[] {
  const runs: BlockRun[] = []
  for (const range of [...ranges].sort((one, other) => one.offset - other.offset)) {
    const first = Math.floor(range.offset / blockBytes)
    const end = blockCount(range.offset + range.length)
    const last = runs[runs.length - 1]
    // Two ranges of one block must be in one run: the second would be checked against bytes that the first has changed.
    const joins = last !== undefined && (first < last.end || (first - last.end <= runGapBlocksMax && end - last.first <= runBlocksMax))
    if (!joins) {
      runs.push({ first, end, ranges: [range] })
    } else {
      last.end = Math.max(last.end, end)
      last.ranges.push(range)
    }
  }
  return runs
}

/** Whether extents are ranges that do not overlap and together hold `bytes`. */
export function areSound (extents: readonly unknown[], bytes: number): boolean {
  let total = 0
  const places: Array<[start: number, end: number]> = []
  for (let index = 0; index < extents.length; index += 2) {
    const [offset, length] = [extents[index] as number, extents[index + 1] as number]
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 1) return false
    total += length
    places.push([offset, offset + length])
  }
  places.sort(([one], [other]) => one - other)
  return total === bytes && places.every(([start], index) => index === 0 || places[index - 1]![1] <= start)
}
