import { expect } from 'chai'
import { ChunkStore, type ChunkName } from '../../fsnode/data/chunk-store.ts'
import { codeOf } from '../../fsnode/protocol/errors.ts'
import { dataIndexOfChunk, dataPartitionId } from '../../partitioning/routing.ts'
import { SimClock } from '../sim/clock.ts'
import { MemoryFiles } from '../sim/memory-files.ts'
import { SimRandom } from '../sim/random.ts'
import { NaiveChunk, randomChange, silentLog } from './support.ts'

const parent = '1.d.0'
const child = '1.d.1'
const grandchildren = ['1.d.2', '1.d.3']
const chunks = Array.from({ length: 24 }, (_, at): [ino: number, chunk: number] => [2 + (at >> 2), at & 3])

/** As the partitions of a volume that had one of them at first. */
function divide ({ store, partitions, nameOf }: Machine): void {
  for (let index = 0; index < partitions; index++) {
    const ancestors = [index % 2, 0].filter((one, at, all) => one !== index && all.indexOf(one) === at).map((one) => dataPartitionId(1, one))
    store.divide({ partition: dataPartitionId(1, index), index, span: partitions, ancestors, ownerOf: (ino, chunk) => nameOf([ino, chunk]).partition })
  }
}

class Machine {
  readonly clock = new SimClock()
  readonly random: SimRandom
  files: MemoryFiles
  store!: ChunkStore
  partitions: 1 | 2 | 4 = 1

  constructor (seed: number) {
    this.random = new SimRandom(seed)
    this.files = new MemoryFiles({ clock: this.clock, random: this.random.fork() }, { delayMsMax: 1 })
  }

  async start (): Promise<void> {
    const { files, clock } = this
    this.store = new ChunkStore({ files, clock, log: silentLog }, { directory: '/data', probe: false, reserveBytes: 0, openChunksMax: 6 })
    await clock.run(this.store.open())
    if (this.partitions > 1) divide(this)
  }

  /** Goes on with files as the next process finds them. */
  async restart (ending: 'kill' | 'power'): Promise<void> {
    if (ending === 'power') this.files.crash(this.random)
    else this.files.kill()
    this.files = this.files.reopen()
    await this.start()
  }

  readonly nameOf = ([ino, chunk]: [number, number]): ChunkName => ({ partition: dataPartitionId(1, dataIndexOfChunk(ino, chunk, this.partitions)), ino, chunk })

  split (): void {
    this.partitions = this.partitions === 1 ? 2 : 4
    divide(this)
  }

  sweepAll (): Promise<unknown> { return Promise.all([parent, child, ...grandchildren].map((partition) => this.store.sweep(partition))) }
}

async function filled (seed: number): Promise<{ machine: Machine, naive: Map<string, NaiveChunk> }> {
  const machine = new Machine(seed)
  await machine.start()
  const naive = new Map<string, NaiveChunk>()
  for (const chunk of chunks) {
    const own = new NaiveChunk()
    naive.set(chunk.join('.'), own)
    await machine.clock.run(randomChange(machine.random, 40_000, own, machine.store, machine.nameOf(chunk)))
  }
  return { machine, naive }
}

async function expectAll (machine: Machine, naive: Map<string, NaiveChunk>, what: string): Promise<void> {
  const found = new Set<string>()
  for (const partition of [parent, child, ...grandchildren]) {
    for (const [ino, chunk] of await machine.clock.run(machine.store.list(partition))) {
      expect(machine.nameOf([ino, chunk]).partition, `${what}: ${ino}.${chunk} is listed`).to.equal(partition)
      found.add(`${ino}.${chunk}`)
    }
  }
  for (const chunk of chunks) {
    const own = naive.get(chunk.join('.'))!
    const read = await machine.clock.run(machine.store.read(machine.nameOf(chunk), 0, 100_000))
    expect(read.equals(own.read(0, 100_000)), `${what}: ${chunk.join('.')}`).to.equal(true)
    if (read.length > 0) expect(found.has(chunk.join('.')), `${what}: ${chunk.join('.')} is not listed`).to.equal(true)
  }
}

describe('a partition of the chunk store is split', () => {
  it('what is written before, meanwhile and after is there, wherever files are, and calls by the old name are refused', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const { machine, naive } = await filled(seed)
      const { clock, random } = machine
      // Under way at the moment of the split, by the old names.
      const changes = chunks.filter(() => random.chance(0.5)).map((chunk) => randomChange(random, 40_000, naive.get(chunk.join('.'))!, machine.store, machine.nameOf(chunk)))
      machine.split()
      const sweeps = random.chance(0.5) ? machine.sweepAll() : null
      for (let round = 0; round < 2; round++) {
        for (const chunk of chunks) changes.push(randomChange(random, 40_000, naive.get(chunk.join('.'))!, machine.store, machine.nameOf(chunk)))
        await clock.run(Promise.all(changes))
        if (round === 0 && random.chance(0.5)) machine.split()
      }
      await expectAll(machine, naive, `seed ${seed}`)
      const moved = chunks.find(([ino, chunk]) => machine.nameOf([ino, chunk]).partition !== parent)!
      expect(await clock.run(machine.store.read({ ...machine.nameOf(moved), partition: parent }, 0, 1).then(() => 'read', codeOf))).to.equal('ATOLL_STALE_EPOCH')
      await clock.run(Promise.all([sweeps, machine.sweepAll()]))
      await expectAll(machine, naive, `seed ${seed}, swept`)
      for (const path of machine.files.paths) {
        const [, , partition, , file] = path.split('/')
        const [ino, chunk] = file!.split('.').map(Number)
        expect(machine.nameOf([ino!, chunk!]).partition, path).to.equal(partition)
      }
      for (const chunk of chunks) expect((await clock.run(machine.store.verify(machine.nameOf(chunk)))).bad).to.deep.equal([])
    }
  })

  it('a process that is killed at any step of it leaves everything to the next one', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const { machine, naive } = await filled(seed)
      machine.split()
      for (let crash = 0; crash < 4; crash++) {
        machine.sweepAll().catch(() => {})
        await machine.clock.advance(machine.random.next() * 15)
        if (crash === 1) machine.split()
        await machine.restart('kill')
        await expectAll(machine, naive, `seed ${seed}, crash ${crash}`)
      }
      await machine.clock.run(machine.sweepAll())
      await expectAll(machine, naive, `seed ${seed}, swept`)
    }
  })

  it('what was synced is there whenever the power fails, and what was removed and synced is not', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const { machine, naive } = await filled(seed)
      const sync = (): Promise<void> => machine.clock.run(Promise.all(chunks.map((chunk) => machine.store.sync(machine.nameOf(chunk)))).then(() => {}))
      await sync()
      for (let crash = 0; crash < 4; crash++) {
        if (crash < 2) machine.split()
        const sweeps = machine.sweepAll().catch(() => {})
        await machine.clock.advance(machine.random.next() * 15)
        for (const chunk of chunks.filter(() => machine.random.chance(0.3))) {
          await machine.clock.run(randomChange(machine.random, 40_000, naive.get(chunk.join('.'))!, machine.store, machine.nameOf(chunk)))
          if (machine.random.chance(0.3)) {
            await machine.clock.run(machine.store.truncate(machine.nameOf(chunk), 0))
            naive.set(chunk.join('.'), new NaiveChunk())
          }
          await machine.clock.run(machine.store.sync(machine.nameOf(chunk)))
        }
        if (crash === 3) await machine.clock.run(sweeps)
        await machine.restart('power')
        await expectAll(machine, naive, `seed ${seed}, power failure ${crash}`)
      }
    }
  })

  it('a partition that is removed takes nothing of others with it, and leaves nothing behind', async () => {
    const { machine, naive } = await filled(3)
    machine.split()
    await machine.clock.run(machine.store.removePartition(parent))
    for (const chunk of chunks) if (machine.nameOf(chunk).partition === parent) naive.set(chunk.join('.'), new NaiveChunk())
    await expectAll(machine, naive, 'without the parent')
    const { machine: other } = await filled(3)
    other.split()
    await other.clock.run(other.store.removePartition(child))
    await other.restart('kill')
    expect(await other.clock.run(other.store.list(child))).to.deep.equal([])
  })

  it('a full disk does not keep anybody from reading and removing what has not been moved yet', async () => {
    const { machine, naive } = await filled(4)
    machine.split()
    machine.files.rename = async () => { throw Object.assign(new Error('full'), { code: 'ENOSPC' }) }
    expect(await machine.clock.run(machine.store.sweep(parent).then(() => 'swept', codeOf))).to.equal('ENOSPC')
    await expectAll(machine, naive, 'nothing moved')
    const moved = chunks.find((chunk) => machine.nameOf(chunk).partition === child && naive.get(chunk.join('.'))!.read(0, 1).length > 0)!
    await machine.clock.run(machine.store.truncate(machine.nameOf(moved), 0))
    expect((await machine.clock.run(machine.store.list(child))).some(([ino, chunk]) => ino === moved[0] && chunk === moved[1])).to.equal(false)
  })
})
