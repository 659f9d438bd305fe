import { expect } from 'chai'
import { dirname, join } from 'node:path'
import { databasesAgeMsMax, Usage, usageAgeMsMax, usageIntervalMs, usageShareMax, type UsageEntry, type UsageFiles } from '../../fsnode/server/usage.ts'
import { SimClock } from '../sim/clock.ts'

const chunks = '/volume/chunks'

/** Files by path; each look at one takes time. */
class Tree implements UsageFiles {
  readonly files = new Map<string, number>()
  /** Directories listed and files looked at. */
  looks: string[] = []
  busyMs = 0
  freeBytes = 1e12
  private readonly clock: SimClock
  private readonly lookMs: number

  constructor (clock: SimClock, lookMs: number) {
    this.clock = clock
    this.lookMs = lookMs
  }

  async entries (directory: string): Promise<readonly UsageEntry[] | null> {
    await this.look(directory)
    const below = [...this.files.keys()].filter((path) => path.startsWith(`${directory}/`)).map((path) => path.slice(directory.length + 1).split('/'))
    const names = new Map(below.map(([name, ...rest]): [string, boolean] => [name!, rest.length > 0]))
    return names.size === 0 ? null : [...names].map(([name, isDirectory]) => ({ name, isDirectory }))
  }

  async allocatedBytes (path: string): Promise<number> {
    await this.look(path)
    return this.files.get(path) ?? 0
  }

  async space (): Promise<{ freeBytes: number, capacityBytes: number }> { return { freeBytes: this.freeBytes, capacityBytes: 1e12 } }

  takeLooks (): string[] { return this.looks.splice(0).sort() }

  private async look (path: string): Promise<void> {
    this.looks.push(path)
    this.busyMs += this.lookMs
    if (this.lookMs > 0) await new Promise<void>((resolve) => { this.clock.setTimer(resolve, this.lookMs) })
  }
}

async function setup (files: Record<string, number>, lookMs = 0): Promise<{ clock: SimClock, tree: Tree, usage: Usage }> {
  const clock = new SimClock()
  const tree = new Tree(clock, lookMs)
  for (const [path, bytes] of Object.entries(files)) tree.files.set(join('/volume', path), bytes)
  const usage = new Usage({ clock, files: tree }, { directory: '/volume', chunks, reservedBytes: 1e9 })
  await clock.run(usage.start(), 1e9)
  tree.takeLooks()
  tree.busyMs = 0
  return { clock, tree, usage }
}

const small = { 'raft/1.log': 7, 'chunks/clean': 1, 'chunks/1.0/0a/5.0': 100, 'chunks/1.0/0b/6.0': 200, 'chunks/1.1/0a/5.1': 1_000 }

describe('what a node uses of its volume', () => {
  it('counts chunks by partition, and everything else', async () => {
    const { usage } = await setup(small)
    expect(usage.usedBytes).to.equal(1_308)
    expect(usage.takeStored()).to.deep.equal([['1.0', 300], ['1.1', 1_000]])
  })

  it('is not measured again where nothing has changed', async () => {
    const { clock, tree, usage } = await setup(small)
    await clock.advance(databasesAgeMsMax - 1)
    expect(tree.takeLooks()).to.deep.equal([])
    await clock.advance(usageIntervalMs)
    expect(tree.takeLooks()).to.deep.equal(['/volume', chunks, `${chunks}/clean`, '/volume/raft', '/volume/raft/1.log'].sort())
    expect(usage.usedBytes).to.equal(1_308)
  })

  it('follows a change within an interval, by looking where it was', async () => {
    const { clock, tree, usage } = await setup(small)
    tree.files.set(`${chunks}/1.0/0b/7.0`, 50)
    tree.files.set(`${chunks}/1.2/0c/8.0`, 4_000)
    for (const shelf of ['1.0/0b', '1.2/0c']) usage.chunksChanged(join(chunks, shelf))
    await clock.advance(usageIntervalMs)
    expect(tree.takeLooks().filter((path) => !path.startsWith(`${chunks}/1.0/0b`) && !path.startsWith(`${chunks}/1.2/0c`))).to.deep.equal([])
    expect(usage.takeStored()).to.deep.equal([['1.0', 350], ['1.1', 1_000], ['1.2', 4_000]])
    tree.files.set('/volume/raft/1.log', 70)
    usage.databaseChanged()
    await clock.advance(usageIntervalMs)
    expect(usage.usedBytes).to.equal(5_421)
  })

  it('forgets a partition and a shelf that are gone, whatever was still to be measured of them', async () => {
    const { clock, tree, usage } = await setup(small)
    for (const path of [...tree.files.keys()]) if (path.startsWith(`${chunks}/1.0/`) || path === `${chunks}/1.1/0a/5.1`) tree.files.delete(path)
    tree.files.set(`${chunks}/1.1/0b/6.1`, 10)
    for (const directory of ['1.0/0a', '1.0', '1.0/0b', '1.1/0a', '1.1/0b']) usage.chunksChanged(join(chunks, directory))
    await clock.advance(usageIntervalMs)
    expect(usage.takeStored()).to.deep.equal([['1.1', 10]])
  })

  it('of a large store takes its share of the time, and all is measured in the end', async () => {
    const files = Object.fromEntries(Array.from({ length: 2_000 }, (_, index): [string, number] => [`chunks/1.0/${index >> 2}/${index}.0`, 1]))
    const { clock, tree, usage } = await setup(files, 4)
    const began = clock.now()
    for (const path of tree.files.keys()) {
      tree.files.set(path, 2)
      usage.chunksChanged(dirname(path))
    }
    await clock.until(() => usage.usedBytes === 4_000, 1e9)
    // Files of a directory are looked at side by side.
    expect((clock.now() - began) / (500 * 2 * 4)).to.be.within(1 / usageShareMax, 1.2 / usageShareMax)
  })

  it('is measured as a whole now and then: not every change is told of', async () => {
    const { clock, tree, usage } = await setup(small)
    tree.files.set(`${chunks}/1.0/0a/5.0`, 90)
    await clock.advance(usageAgeMsMax + usageIntervalMs)
    expect(usage.takeStored()).to.deep.equal([['1.0', 290], ['1.1', 1_000]])
  })

  it('is told of in each interval: whoever leads the manager now may not know it', async () => {
    const { clock, usage } = await setup(small)
    usage.takeStored()
    expect(usage.takeStored()).to.equal(undefined)
    await clock.advance(usageIntervalMs)
    expect(usage.takeStored()).to.have.length(2)
  })

  it('is more than it can be when others have taken the disk', async () => {
    const { clock, tree, usage } = await setup(small)
    tree.freeBytes = 500
    await clock.advance(usageIntervalMs)
    expect(usage.capacityBytes).to.equal(1_808)
  })
})
