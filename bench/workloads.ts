/**
 * What is measured, written once against the part of node:fs/promises that a mount (through
 * `sync-files.ts`), the local disk and Atoll's file API share.
 */

export interface BenchHandle {
  read (buffer: Buffer, offset: number, length: number, position: number): Promise<{ bytesRead: number }>
  write (buffer: Buffer, offset: number, length: number, position: number): Promise<{ bytesWritten: number }>
  sync (): Promise<void>
  close (): Promise<void>
}

export interface BenchFiles {
  open (path: string, flags: string): Promise<BenchHandle>
  readFile (path: string): Promise<Buffer>
  writeFile (path: string, data: Buffer): Promise<void>
  mkdir (path: string): Promise<unknown>
  stat (path: string): Promise<{ size: number }>
  unlink (path: string): Promise<void>
  rm (path: string, options: { recursive: true, force: true }): Promise<void>
}

export interface Sizes {
  sequentialMiB: number
  randomFileMiB: number
  randomOperations: number
  smallFiles: number
  smallBytes: number
}

/** `rate` is in `unit`; higher is better. */
export interface Measured { rate: number, unit: 'MB/s' | 'IOPS' | 'files/s' }

const mib = 1024 * 1024
const blockBytes = 4096

/** A cheap source of bytes that do not compress and positions that do not repeat soon. */
function * positions (count: number, blocks: number): Generator<number> {
  let state = 12345
  for (let index = 0; index < count; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    yield (state % blocks) * blockBytes
  }
}

function filled (length: number): Buffer {
  const buffer = Buffer.allocUnsafe(length)
  let state = 99
  for (let index = 0; index + 4 <= length; index += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    buffer.writeUInt32LE(state, index)
  }
  return buffer
}

async function timed (work: () => Promise<void>): Promise<number> {
  const began = performance.now()
  await work()
  return (performance.now() - began) / 1000
}

export async function sequentialWrite (files: BenchFiles, dir: string, { sequentialMiB }: Sizes): Promise<Measured> {
  const block = filled(mib)
  const seconds = await timed(async () => {
    const handle = await files.open(`${dir}/sequential`, 'w')
    for (let index = 0; index < sequentialMiB; index++) await handle.write(block, 0, mib, index * mib)
    await handle.sync()
    await handle.close()
  })
  return { rate: sequentialMiB * mib / 1e6 / seconds, unit: 'MB/s' }
}

export async function sequentialRead (files: BenchFiles, dir: string, { sequentialMiB }: Sizes): Promise<Measured> {
  const block = Buffer.allocUnsafe(mib)
  const seconds = await timed(async () => {
    const handle = await files.open(`${dir}/sequential`, 'r')
    for (let index = 0; index < sequentialMiB; index++) await readFully(handle, block, index * mib)
    await handle.close()
  })
  return { rate: sequentialMiB * mib / 1e6 / seconds, unit: 'MB/s' }
}

async function readFully (handle: BenchHandle, block: Buffer, position: number): Promise<void> {
  for (let done = 0; done < block.length;) {
    const { bytesRead } = await handle.read(block, done, block.length - done, position + done)
    if (bytesRead === 0) throw new Error(`the file ends at ${position + done}`)
    done += bytesRead
  }
}

export async function randomRead (files: BenchFiles, dir: string, sizes: Sizes): Promise<Measured> {
  const blocks = sizes.randomFileMiB * mib / blockBytes
  const block = Buffer.allocUnsafe(blockBytes)
  const handle = await files.open(`${dir}/random`, 'r')
  const seconds = await timed(async () => {
    for (const position of positions(sizes.randomOperations, blocks)) await readFully(handle, block, position)
  })
  await handle.close()
  return { rate: sizes.randomOperations / seconds, unit: 'IOPS' }
}

export async function randomWrite (files: BenchFiles, dir: string, sizes: Sizes): Promise<Measured> {
  const blocks = sizes.randomFileMiB * mib / blockBytes
  const block = filled(blockBytes)
  const handle = await files.open(`${dir}/random`, 'r+')
  const seconds = await timed(async () => {
    for (const position of positions(sizes.randomOperations, blocks)) await handle.write(block, 0, blockBytes, position)
    await handle.sync()
  })
  await handle.close()
  return { rate: sizes.randomOperations / seconds, unit: 'IOPS' }
}

export async function prepareRandom (files: BenchFiles, dir: string, { randomFileMiB }: Sizes): Promise<void> {
  const block = filled(mib)
  const handle = await files.open(`${dir}/random`, 'w')
  for (let index = 0; index < randomFileMiB; index++) await handle.write(block, 0, mib, index * mib)
  await handle.sync()
  await handle.close()
}

const filesPerDirectory = 100

function * smallNames (dir: string, count: number): Generator<string> {
  for (let index = 0; index < count; index++) yield `${dir}/d${Math.floor(index / filesPerDirectory)}/f${index}`
}

async function eachSmall (dir: string, { smallFiles }: Sizes, work: (path: string) => Promise<unknown>): Promise<Measured> {
  const seconds = await timed(async () => {
    for (const path of smallNames(dir, smallFiles)) await work(path)
  })
  return { rate: smallFiles / seconds, unit: 'files/s' }
}

export async function prepareSmall (files: BenchFiles, dir: string, { smallFiles }: Sizes): Promise<void> {
  await files.mkdir(dir)
  for (let index = 0; index * filesPerDirectory < smallFiles; index++) await files.mkdir(`${dir}/d${index}`)
}

export function createSmall (files: BenchFiles, dir: string, sizes: Sizes): Promise<Measured> {
  const content = filled(sizes.smallBytes)
  return eachSmall(dir, sizes, (path) => files.writeFile(path, content))
}

export function statSmall (files: BenchFiles, dir: string, sizes: Sizes): Promise<Measured> {
  return eachSmall(dir, sizes, (path) => files.stat(path))
}

export function readSmall (files: BenchFiles, dir: string, sizes: Sizes): Promise<Measured> {
  return eachSmall(dir, sizes, async (path) => {
    if ((await files.readFile(path)).length !== sizes.smallBytes) throw new Error(`${path} has another length`)
  })
}

export function removeSmall (files: BenchFiles, dir: string, sizes: Sizes): Promise<Measured> {
  return eachSmall(dir, sizes, (path) => files.unlink(path))
}

export const phases = {
  'sequential write': sequentialWrite,
  'sequential read': sequentialRead,
  'random read': randomRead,
  'random write': randomWrite,
  'small create': createSmall,
  'small stat': statSmall,
  'small read': readSmall,
  'small remove': removeSmall
} as const

export type Phase = keyof typeof phases
