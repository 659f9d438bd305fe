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

/** Splits nanoseconds since the epoch as struct timespec does: the nanoseconds are never negative. */
export function writeTime (buffer: Buffer, ns: bigint, secondsOffset: number, nanosecondsOffset: number): void {
  let seconds = ns / nanosecondsPerSecond
  let rest = ns - seconds * nanosecondsPerSecond
  if (rest < 0n) {
    seconds -= 1n
    rest += nanosecondsPerSecond
  }
  buffer.writeBigInt64LE(seconds, secondsOffset)
  buffer.writeUInt32LE(Number(rest), nanosecondsOffset)
}

export function readTime (buffer: Buffer, secondsOffset: number, nanosecondsOffset: number): bigint {
  return buffer.readBigInt64LE(secondsOffset) * nanosecondsPerSecond + BigInt(buffer.readUInt32LE(nanosecondsOffset))
}

export function alignTo8 (length: number): number {
  return (length + 7) & ~7
}
