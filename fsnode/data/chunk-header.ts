import { crc32 } from '@node-rs/crc32'

/**
 * A chunk's file: this header in the first 4096 bytes, the chunk's bytes after it. Little endian:
 *
 *   0  8 bytes  'ATOLCHNK'
 *   8  u16      format version (1)
 *   10 u8       state: 0 clean, 1 dirty
 *   11 u8       log2 of the block size (15)
 *   12 u32      index of the chunk in its file
 *   16 f64      inode number
 *   24 u32      length of the chunk
 *   28 u32      CRC-32 of the table
 *   32 u32      CRC-32 of the 32 bytes before
 *   64          table: CRC-32 of each block, u32 each
 *
 * A dirty header promises nothing about table and length: the bytes are what the file holds, the
 * length is the file's. It is on stable storage before bytes that were there before may change.
 */
export const headerBytes = 4096
export const blockBytes = 32 * 1024
export const formatVersion = 1
const blockShift = 15
const fixedBytes = 32
const tableOffset = 64
export const blocksMax = (headerBytes - tableOffset) / 4
/** The largest chunk a header can describe, 31.5 MiB. */
export const chunkBytesMax = blocksMax * blockBytes

const magic = Buffer.from('ATOLCHNK', 'latin1')

export interface ChunkHeader {
  ino: number
  chunk: number
  length: number
  dirty: boolean
  sums: Uint32Array
}

export function blockCount (length: number): number {
  return Math.ceil(length / blockBytes)
}

/** The table as bytes; every machine that runs this is little endian. */
export function tableBytes (sums: Uint32Array, length: number): Buffer {
  return Buffer.from(sums.buffer, sums.byteOffset, blockCount(length) * 4)
}

export function encodeHeader ({ ino, chunk, length, dirty, sums }: ChunkHeader): Buffer {
  const bytes = Buffer.alloc(headerBytes)
  const table = tableBytes(sums, length)
  magic.copy(bytes, 0)
  bytes.writeUInt16LE(formatVersion, 8)
  bytes.writeUInt8(dirty ? 1 : 0, 10)
  bytes.writeUInt8(blockShift, 11)
  bytes.writeUInt32LE(chunk, 12)
  bytes.writeDoubleLE(ino, 16)
  bytes.writeUInt32LE(length, 24)
  bytes.writeUInt32LE(crc32(table), 28)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, fixedBytes)), fixedBytes)
  table.copy(bytes, tableOffset)
  return bytes
}

/**
 * 'blank': never reached the disk (all zeros, as after a power loss right after creation, or cut short, as when the process
 * ended within the first write: nothing in the chunk was acknowledged).
 * 'damaged': not what was written. 'foreign': well, but of another format version.
 */
export function decodeHeader (bytes: Buffer, ino: number, chunk: number): ChunkHeader | 'blank' | 'damaged' | 'foreign' {
  if (bytes.length < headerBytes || isZero(bytes)) return 'blank'
  const fixed = bytes.subarray(0, fixedBytes)
  if (!magic.equals(bytes.subarray(0, 8)) || crc32(fixed) !== bytes.readUInt32LE(fixedBytes)) return 'damaged'
  if (bytes.readUInt16LE(8) !== formatVersion || bytes.readUInt8(11) !== blockShift) return 'foreign'
  if (bytes.readUInt32LE(12) !== chunk || bytes.readDoubleLE(16) !== ino) return 'damaged'
  const dirty = bytes.readUInt8(10) !== 0
  const length = bytes.readUInt32LE(24)
  if (length > chunkBytesMax) return 'damaged'
  const table = bytes.subarray(tableOffset, tableOffset + blockCount(length) * 4)
  if (!dirty && crc32(table) !== bytes.readUInt32LE(28)) return 'damaged'
  const sums = new Uint32Array(blockCount(length))
  for (let index = 0; index < sums.length; index++) sums[index] = table.readUInt32LE(index * 4)
  return { ino, chunk, length, dirty, sums }
}

function isZero (bytes: Buffer): boolean {
  for (const byte of bytes) if (byte !== 0) return false
  return true
}
