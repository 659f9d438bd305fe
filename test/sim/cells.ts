import { cellBytes } from './history.ts'

/** A cell that one write filled: its number again and again, each time with a check. */
const stampBytes = 8
const check = 0x5eed5eed

/** What the write with this number puts into each of its cells. */
export function stamped (id: number, cells: number): Buffer[] {
  const cell = Buffer.alloc(cellBytes)
  for (let at = 0; at < cellBytes; at += stampBytes) {
    cell.writeUInt32LE(id, at)
    cell.writeUInt32LE((id ^ check) >>> 0, at + 4)
  }
  return Array.from({ length: cells }, () => cell)
}

/** What `cells` cells hold: the number of a write, 0 for zeros (and what is beyond the end), -1 for anything else. */
export function cellsOf (bytes: Buffer, cells: number): number[] {
  return Array.from({ length: cells }, (_, at) => valueOf(bytes.subarray(at * cellBytes, (at + 1) * cellBytes)))
}

function valueOf (cell: Buffer): number {
  if (cell.every((byte) => byte === 0)) return 0
  if (cell.length < cellBytes) return -1
  const id = cell.readUInt32LE(0)
  return stamped(id, 1)[0]!.equals(cell) ? id : -1
}
