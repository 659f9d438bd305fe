/** CRC-32 as in zlib: polynomial, bits reversed. */
const polynomial = 0xedb88320
const one = 0x80000000

/** Product of two polynomials modulo the CRC's. */
function multiply (left: number, right: number): number {
  let product = 0
  let factor = right
  for (let bits = left; bits !== 0; bits = (bits << 1) >>> 0) {
    if ((bits & one) !== 0) product ^= factor
    factor = (factor & 1) !== 0 ? (factor >>> 1) ^ polynomial : factor >>> 1
  }
  return product >>> 0
}

/** x to the power of 8 * 2^index: what 2^index bytes do to those before them. */
const shifts: number[] = [one >>> 8]
while (shifts.length < 25) shifts.push(multiply(shifts.at(-1)!, shifts.at(-1)!))

/** `difference`, of the checksums of two texts of equal length, as it is when the same `count` bytes follow both. */
function shifted (difference: number, count: number): number {
  let result = difference
  for (let index = 0, left = count; left > 0; index++, left >>>= 1) if ((left & 1) !== 0) result = multiply(shifts[index]!, result)
  return result
}

/**
 * The CRC-32 of a text of which a part was replaced by another of equal length: from that of the whole as it was, of the two parts
 * as they are by themselves, and the bytes that follow. Where the whole did not match its checksum, the new one does not either.
 */
export function sumReplaced (whole: number, before: number, after: number, following: number): number {
  return (whole ^ shifted((before ^ after) >>> 0, following)) >>> 0
}
