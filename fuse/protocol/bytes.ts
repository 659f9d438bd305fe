const two32 = 0x1_0000_0000
const nanosecondsPerSecond = 1_000_000_000n

/** A little-endian u64 as a number, or NaN when it is no safe integer. */
export function readU64 (buffer: Buffer, offset: number): number {
  const value = buffer.readUInt32LE(offset + 4) * two32 + buffer.readUInt32LE(offset)
  return value <= Number.MAX_SAFE_INTEGER ? value : NaN
}

export function writeU64 (buffer: Buffer, value: number, offset: number): void {
  buffer.writeUInt32LE(value % two32, offset)
  buffer.writeUInt32LE(Math.floor(value / two32), offset + 4)
}

/** The time that was split last: those of an inode are often one and the same. */
let split = { ns: 0n, low: 0, high: 0, nanoseconds: 0 }

/** Splits nanoseconds since the epoch as struct timespec does: the nanoseconds are never negative. */
export function writeTime (buffer: Buffer, ns: bigint, secondsOffset: number, nanosecondsOffset: number): void {
  if (ns !== split.ns) {
    const rest = Number(ns % nanosecondsPerSecond)
    const seconds = Number(ns / nanosecondsPerSecond) - (rest < 0 ? 1 : 0)
    split = { ns, low: seconds >>> 0, high: Math.floor(seconds / two32), nanoseconds: rest < 0 ? rest + 1_000_000_000 : rest }
  }
  buffer.writeUInt32LE(split.low, secondsOffset)
  buffer.writeInt32LE(split.high, secondsOffset + 4)
  buffer.writeUInt32LE(split.nanoseconds, nanosecondsOffset)
}

export function readTime (buffer: Buffer, secondsOffset: number, nanosecondsOffset: number): bigint {
  return buffer.readBigInt64LE(secondsOffset) * nanosecondsPerSecond + BigInt(buffer.readUInt32LE(nanosecondsOffset))
}

export function alignTo8 (length: number): number {
  return (length + 7) & ~7
}
