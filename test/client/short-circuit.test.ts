import { expect } from 'chai'
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { localFilesMax, shortCircuitPauseMs } from '../../client/bounds.ts'
import { systemFiles } from '../../client/local-files.ts'
import { ShortCircuit } from '../../client/short-circuit.ts'
import type { FileRange } from '../../fsnode/protocol/data.ts'
import { posixError } from '../../fsnode/protocol/errors.ts'
import { SimClock } from '../sim/clock.ts'
import { SimRandom } from '../sim/random.ts'

const blockBytes = 1024
const contents = new SimRandom(1).bytes(3 * blockBytes + 100)

/** What a node says of the bytes from `start` to `end` of `contents`, whose file has 10 bytes in front. */
function rangeOf (start: number, end: number): FileRange {
  const first = Math.floor(start / blockBytes) * blockBytes
  const last = Math.min(contents.length, Math.ceil(end / blockBytes) * blockBytes)
  const sums: number[] = []
  for (let at = first; at < last; at += blockBytes) sums.push(crc32(contents.subarray(at, Math.min(last, at + blockBytes))))
  return { path: '/f', position: 10 + first, length: last - first, blockBytes, sums: Buffer.from(Uint32Array.from(sums).buffer), skip: start - first, count: end - start }
}

describe('short-circuit reads', () => {
  let clock: SimClock
  let file: Buffer
  let failure: string | null
  let reads: ShortCircuit

  beforeEach(() => {
    clock = new SimClock()
    file = Buffer.concat([Buffer.alloc(10), contents])
    failure = null
    reads = new ShortCircuit({
      machine: 'here',
      read: async (_, into, position) => {
        if (failure !== null) throw posixError(failure)
        return file.copy(into, 0, position)
      }
    }, clock)
  })

  it('give just the bytes that were asked for', async () => {
    for (const [start, end] of [[0, 1], [0, contents.length], [blockBytes, 2 * blockBytes], [1000, 1100], [3 * blockBytes + 50, contents.length]] as const) {
      expect(Buffer.concat((await reads.read(rangeOf(start, end)))!).equals(contents.subarray(start, end)), `${start} to ${end}`).to.equal(true)
    }
  })

  it('give nothing when a byte of a block is not what the node meant, or the file is shorter, or a checksum is missing', async () => {
    file[10 + 5]! ^= 1
    expect(await reads.read(rangeOf(1000, 1010))).to.equal(null)
    expect(await reads.read(rangeOf(blockBytes, blockBytes + 1))).to.not.equal(null)
    file = file.subarray(0, file.length - 1)
    expect(await reads.read(rangeOf(3 * blockBytes, contents.length))).to.equal(null)
    expect(await reads.read({ ...rangeOf(blockBytes, 2 * blockBytes), sums: new Uint8Array() })).to.equal(null)
    expect(reads.machine, 'files change all the time').to.equal('here')
  })

  it('pause after a file could not be read', async () => {
    failure = 'EACCES'
    expect(await reads.read(rangeOf(0, 10))).to.equal(null)
    expect(reads.machine).to.equal(undefined)
    failure = null
    await clock.advance(shortCircuitPauseMs)
    expect(reads.machine).to.equal('here')
    expect(await reads.read(rangeOf(0, 10))).to.not.equal(null)
  })

  it('do not happen where the machine is not known', () => {
    expect(new ShortCircuit({ machine: null, read: async () => 0 }, clock).machine).to.equal(undefined)
  })
})

describe("the machine's files", () => {
  let directory: string

  beforeEach(() => { directory = mkdtempSync(join(tmpdir(), 'atoll-files-')) })

  afterEach(() => { rmSync(directory, { recursive: true }) })

  function openFiles (): string[] {
    const paths = readdirSync('/proc/self/fd').map((fd) => { try { return readlinkSync(`/proc/self/fd/${fd}`) } catch { return '' } })
    return paths.filter((path) => path.startsWith(directory))
  }

  it('are read from any position, as far as they go, and rejected with the code of the system', async () => {
    const path = join(directory, 'f')
    writeFileSync(path, contents)
    const bytes = Buffer.alloc(blockBytes)
    expect(await systemFiles.read(path, bytes, 100)).to.equal(blockBytes)
    expect(bytes.equals(contents.subarray(100, 100 + blockBytes))).to.equal(true)
    expect(await systemFiles.read(path, bytes, 3 * blockBytes)).to.equal(100)
    expect(await systemFiles.read(path, bytes, 2 ** 40)).to.equal(0)
    expect(await systemFiles.read(join(directory, 'none'), bytes, 0).catch(({ code }) => code)).to.equal('ENOENT')
  })

  it('are forgotten by who could not read them, but not what another reader of the path has opened since', async function () {
    this.timeout(20_000)
    const path = join(directory, 'f')
    mkdirSync(path)
    const bytes = Buffer.alloc(10)
    const read = (): Promise<number> => systemFiles.read(path, bytes, 0)
    const failures = Array.from({ length: 2 }, () => read().then(() => '', ({ code }) => code as string))
    // Before the other one has failed.
    const again = Promise.race(failures).then(() => {
      rmdirSync(path)
      writeFileSync(path, contents)
      return read()
    })
    expect(await Promise.all(failures)).to.deep.equal(['EISDIR', 'EISDIR'])
    expect(await again).to.equal(10)
    rmSync(path)
    writeFileSync(path, 'of another')
    await read()
    expect(bytes.equals(contents.subarray(0, 10)), 'it is still open').to.equal(true)
    while (openFiles().length > 0) await new Promise((resolve) => { setTimeout(resolve, 50) })
  })

  it('do not stay open when nobody reads them, nor too many of them', async function () {
    this.timeout(20_000)
    const paths = Array.from({ length: localFilesMax + 10 }, (_, index) => join(directory, `f${index}`))
    for (const path of paths) writeFileSync(path, contents)
    await Promise.all(paths.map((path) => systemFiles.read(path, Buffer.alloc(10), 0)))
    await systemFiles.read(paths[0]!, Buffer.alloc(10), 0)
    while (openFiles().length > localFilesMax) await new Promise((resolve) => { setImmediate(resolve) })
    while (openFiles().length > 0) await new Promise((resolve) => { setTimeout(resolve, 50) })
  })
})
