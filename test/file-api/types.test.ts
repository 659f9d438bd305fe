import { expect } from 'chai'
import type { BigIntStats, Dirent, Stats } from 'node:fs'
import type * as promises from 'node:fs/promises'
import type { FileHandle, MountedVolume, SharedWithNode } from '../../client/index.ts'
import { memoryVolume } from './twin.ts'

// What is proved here is proved by the compiler; `npm run check` runs it. The bodies run once, so that they are also true.
type Node = typeof promises
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
const holds = <T extends true>(): T | undefined => undefined

/** Programs that were written for node:fs/promises. */
async function store (fs: Pick<Node, 'mkdir' | 'writeFile' | 'rename' | 'readFile'>, path: string, text: string): Promise<string> {
  await fs.mkdir(path, { recursive: true })
  await fs.writeFile(`${path}/new`, text)
  await fs.rename(`${path}/new`, `${path}/current`)
  return fs.readFile(`${path}/current`, 'utf8')
}

async function head (open: (path: string) => Promise<Pick<promises.FileHandle, 'read' | 'stat' | 'close'>>, path: string): Promise<string> {
  const handle = await open(path)
  const { size } = await handle.stat()
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(Math.min(3, size)))
  await handle.close()
  return buffer.toString('utf8', 0, bytesRead)
}

describe('file-api: types', () => {
  const fs = memoryVolume()

  it('a mounted volume is the part of node:fs/promises that it says, and lacks only what the page lists', () => {
    fs satisfies Pick<Node, SharedWithNode>
    holds<Same<Pick<MountedVolume, SharedWithNode>, Pick<Node, SharedWithNode>>>()
    holds<Same<Exclude<keyof Node, keyof MountedVolume>, 'glob' | 'watch' | 'lchmod'>>()
    holds<Same<Exclude<keyof promises.FileHandle, keyof FileHandle>, 'pull' | 'writer'>>()
    // @ts-expect-error: there is no such method
    expect(fs.watch).to.equal(undefined)
  })

  it('programs that are written for a part of node:fs/promises take it', async () => {
    expect(await store(fs, '/dir', 'content')).to.equal('content')
    expect(await head(fs.open, '/dir/current')).to.equal('con')
  })

  it('results have the types that the options ask for', async () => {
    await fs.writeFile('/file', 'x')
    const text: string = await fs.readFile('/file', 'utf8')
    const bytes: Buffer = await fs.readFile('/file')
    const stats: Stats = await fs.stat('/file')
    const big: BigIntStats = await fs.stat('/file', { bigint: true })
    const entries: Dirent[] = await fs.readdir('/', { withFileTypes: true })
    const names: string[] = await fs.readdir('/')
    const first: string | undefined = await fs.mkdir('/a/b', { recursive: true })
    // @ts-expect-error: without an encoding these are bytes
    const wrong: string = await fs.readFile('/file')
    expect([text, bytes, stats.size, big.size, entries.length, names.length, first, wrong]).to.deep.equal(['x', Buffer.from('x'), 1, 1n, 2, 2, '/a', Buffer.from('x')])
  })
})
