/** Reads and writes just as much of the tar format (POSIX ustar, GNU long names) as our own archives need. */

const blockBytes = 512
const typeFile = '0'
const typeLongName = 'L'
const nameMax = 100

/** What stands before a file's bytes. `executable`: mode 0755, else 0644. Times are zero: the same files make the same archive. */
export function tarHeader (name: string, sizeBytes: number, executable: boolean): Buffer {
  if (Buffer.byteLength(name) <= nameMax) return header(name, sizeBytes, executable, typeFile)
  const long = Buffer.from(`${name}\0`)
  return Buffer.concat([header('././@LongLink', long.length, false, typeLongName), long, tarPadding(long.length), header(name.slice(0, nameMax), sizeBytes, executable, typeFile)])
}

export const tarPadding = (sizeBytes: number): Buffer => Buffer.alloc((blockBytes - sizeBytes % blockBytes) % blockBytes)

export const tarEnd = (): Buffer => Buffer.alloc(2 * blockBytes)

function header (name: string, sizeBytes: number, executable: boolean, type: string): Buffer {
  const block = Buffer.alloc(blockBytes)
  block.write(name, 0)
  block.write(executable ? '0000755\0' : '0000644\0', 100)
  block.write('0000000\0', 108)
  block.write('0000000\0', 116)
  block.write(`${sizeBytes.toString(8).padStart(11, '0')}\0`, 124)
  block.write('00000000000\0', 136)
  block.write('        ', 148)
  block.write(type, 156)
  block.write('ustar\x0000', 257)
  let sum = 0
  for (const byte of block) sum += byte
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return block
}

export interface TarEntry { name: string, executable: boolean, content: Buffer }

/** The files of an archive. Throws when it is none, or is cut off. */
export function * readTar (archive: Buffer): Generator<TarEntry> {
  let longName: string | undefined
  for (let offset = 0; ;) {
    const block = archive.subarray(offset, offset + blockBytes)
    if (block.length < blockBytes) throw new Error('the archive is cut off')
    if (block.every((byte) => byte === 0)) return
    const text = (start: number, length: number): string => block.toString('utf8', start, start + length).replace(/\0[\s\S]*$/, '')
    const sizeBytes = parseInt(text(124, 12), 8)
    const content = archive.subarray(offset + blockBytes, offset + blockBytes + sizeBytes)
    if (!Number.isSafeInteger(sizeBytes) || content.length < sizeBytes) throw new Error('the archive is damaged')
    offset += blockBytes + sizeBytes + tarPadding(sizeBytes).length
    if (text(156, 1) === typeLongName) {
      longName = content.toString('utf8', 0, sizeBytes - 1)
      continue
    }
    yield { name: longName ?? text(0, nameMax), executable: (parseInt(text(100, 8), 8) & 0o100) !== 0, content }
    longName = undefined
  }
}
