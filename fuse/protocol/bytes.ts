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

/**
 * The words of a buffer that begins at a multiple of 4. Messages are in the byte order of the machine, and one store into an array of words
 * is many times cheaper than a call that writes four bytes, above all before the engine has compiled it.
 */
export function wordsOf (buffer: Buffer): Uint32Array { return new Uint32Array(buffer.buffer, buffer.byteOffset, buffer.length >>> 2) }

/** `at` in bytes, here and below. */
export function putU32 (words: Uint32Array, value: number, at: number): void {
  words[at >>> 2] = value
}

export function putU64 (words: Uint32Array, value: number, at: number): void {
  // A store takes a number modulo 2 ** 32.
  words[at >>> 2] = value
  words[(at >>> 2) + 1] = value < two32 ? 0 : value / two32
}

/** The time that was split last: those of an inode are often one and the same. */
let split = { ns: 0n, low: 0, high: 0, nanoseconds: 0 }

/** Splits nanoseconds since the epoch as struct timespec does: the nanoseconds are never negative. */
export function putTime (words: Uint32Array, ns: bigint, secondsAt: number, nanosecondsAt: number): void {
  if (ns !== split.ns) {
    const rest = Number(ns % nanosecondsPerSecond)
    const seconds = Number(ns / nanosecondsPerSecond) - (rest < 0 ? 1 : 0)
    split = { ns, low: seconds >>> 0, high: Math.floor(seconds / two32), nanoseconds: rest < 0 ? rest + 1_000_000_000 : rest }
  }
  words[secondsAt >>> 2] = split.low
  words[(secondsAt >>> 2) + 1] = split.high
  words[nanosecondsAt >>> 2] = split.nanoseconds
}

export function readTime (buffer: Buffer, secondsOffset: number, nanosecondsOffset: number): bigint {
  return buffer.readBigInt64LE(secondsOffset) * nanosecondsPerSecond + BigInt(buffer.readUInt32LE(nanosecondsOffset))
}

export function alignTo8 (length: number): number {
  return (length + 7) & ~7
}
