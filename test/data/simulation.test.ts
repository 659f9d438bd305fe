import { expect } from 'chai'
import type { Placement } from '../../partitioning/types.ts'
import { codeOf } from '../../fsnode/protocol/errors.ts'
import { SimClock } from '../sim/clock.ts'
import { SimRandom } from '../sim/random.ts'
import { contentsOf, SimClient, SimCluster } from './cluster.ts'
import { NaiveChunk } from './support.ts'

const slotBytes = 700
const slots = 4
const chunks = 3

/** A range of a chunk that one client writes with ever growing values; -1 nothing was ever written. */
interface Slot { ino: number, chunk: number, offset: number, issued: number, acknowledged: number, seen: number }

/**
 * Seeded runs: clients write and read through crashes, power failures and cuts. Checked: every read shows the last
 * acknowledged write or a later one, never goes back behind another read, and in the end all
 * replicas are identical.
 */
class Run {
  readonly clock = new SimClock()
  readonly random: SimRandom
  readonly cluster: SimCluster
  readonly slots: Slot[] = []
  writes = 0
  reads = 0
  private readonly seed: number
  private readonly placement: Placement
  private over = false

  constructor (seed: number, placement: Placement) {
    this.seed = seed
    this.placement = placement
    this.random = new SimRandom(seed)
    this.cluster = new SimCluster({ clock: this.clock, random: this.random.fork(), placement })
    for (let chunk = 0; chunk < chunks; chunk++) {
      for (let slot = 0; slot < slots; slot++) this.slots.push({ ino: 1, chunk, offset: slot * 30_000, issued: 0, acknowledged: 0, seen: 0 })
    }
  }

  async play (durationMs: number): Promise<void> {
    await this.cluster.start()
    const work = Promise.all([this.writer(0), this.writer(1), this.reader(0), this.reader(1), this.modeller()])
    work.catch(() => { this.over = true })
    const end = this.clock.now() + durationMs
    while (this.clock.now() < end && !this.over) {
      await this.clock.advance(100 + this.random.below(1500))
      await this.disturb()
    }
    this.cluster.network.heal()
    for (const node of this.cluster.nodes.values()) if (node.down) void node.start()
    await this.clock.until(() => this.over || this.cluster.healthy, 120_000, `seed ${this.seed}: health`)
    this.over = true
    await this.clock.run(work, 300_000)
    await this.clock.until(() => this.cluster.healthy, 120_000, `seed ${this.seed}: health`)
    await this.clock.advance(2_000)
    const contents = await contentsOf(this.cluster)
    for (const other of contents.slice(1)) expect(other, `seed ${this.seed}: replicas`).to.equal(contents[0])
  }

  private async disturb (): Promise<void> {
    const { cluster, random } = this
    const nodes = [...cluster.nodes.values()]
    const victim = random.pick(nodes)
    switch (random.below(7)) {
      case 0:
      case 1: {
        if (!victim.alive) return
        // What one machine alone still holds may not be lost with its power.
        const serving = cluster.partition.replicas.filter(({ state }) => state === 'serving')
        const others = serving.some(({ node }) => node !== victim.id && cluster.nodes.get(node)!.alive)
        victim.crash(others && random.chance(0.5))
        break
      }
      case 2:
      case 3:
        if (victim.down) void victim.start()
        break
      case 4:
        cluster.network.cut(victim.id, random.pick([...cluster.nodes.keys(), 'm', 'client-0', 'client-1'].filter((host) => host !== victim.id)))
        break
      default:
        cluster.network.heal()
    }
  }

  private async client (name: string): Promise<SimClient> {
    const client = new SimClient(this.cluster, name)
    await client.start()
    return client
  }

  private pause (): Promise<void> {
    return new Promise((resolve) => { this.clock.setTimer(resolve, this.random.below(40)) })
  }

  private async writer (index: number): Promise<void> {
    const client = await this.client(`client-${index}`)
    const own = this.slots.filter((_, slot) => slot % 2 === index)
    while (!this.over) {
      await Promise.all(own.filter(() => this.random.chance(0.3)).map(async (slot) => {
        const value = ++slot.issued
        const bytes = Buffer.alloc(slotBytes)
        for (let at = 0; at < slotBytes; at += 4) bytes.writeUInt32LE(value, at)
        try {
          await client.write(slot.ino, slot.chunk, slot.offset, bytes, 5_000)
          slot.acknowledged = Math.max(slot.acknowledged, value)
          this.writes++
        } catch (error) {
          if (!/^ATOLL_(UNAVAILABLE|UNREACHABLE|TIMEOUT|CONNECTION_LOST|STALE_EPOCH|NOT_PRIMARY)$/.test(codeOf(error))) throw error
        }
      }))
      await this.pause()
    }
  }

  private async reader (index: number): Promise<void> {
    const client = await this.client(`reader-${index}`)
    while (!this.over) {
      const slot = this.random.pick(this.slots)
      const { acknowledged, seen } = slot
      try {
        const bytes = await this.readSomewhere(client, slot)
        this.check(slot, bytes, Math.max(acknowledged, seen))
        this.reads++
      } catch (error) {
        if (!codeOf(error).startsWith('ATOLL_') || codeOf(error) === 'ATOLL_INTERNAL') throw error
      }
      await this.pause()
    }
  }

  private readSomewhere (client: SimClient, { ino, chunk, offset }: Slot): Promise<Buffer> {
    if (this.placement === 'hawaii') return client.read(ino, chunk, offset, slotBytes)
    return client.readAt(this.random.pick([...this.cluster.nodes.keys()]), ino, chunk, offset, slotBytes)
  }

  /** The bytes may mix values only where a write's outcome is open. */
  private check (slot: Slot, bytes: Buffer, atLeast: number): void {
    const where = `seed ${this.seed}: chunk ${slot.chunk} at ${slot.offset}`
    let lowest = bytes.length < slotBytes ? 0 : Infinity
    for (let at = 0; at + 4 <= bytes.length; at += 4) {
      const value = bytes.readUInt32LE(at)
      lowest = Math.min(lowest, value)
      if (value > slot.issued) expect.fail(`${where}: ${value} was never written`)
    }
    if (lowest < atLeast) expect.fail(`${where}: read ${lowest} after ${atLeast}`)
    slot.seen = Math.max(slot.seen, lowest)
  }

  /** One client alone on its chunk, with every kind of change, against a naive twin. */
  private async modeller (): Promise<void> {
    const client = await this.client('client-m')
    const naive = new NaiveChunk()
    const ino = 2
    while (!this.over) {
      const offset = this.random.below(80_000)
      const length = 1 + this.random.below(40_000)
      const kind = this.random.below(10)
      if (kind < 6) {
        const bytes = Buffer.alloc(length, this.random.bytes(5))
        await client.write(ino, 0, offset, bytes)
        naive.write(offset, bytes)
      } else if (kind < 7) {
        const cut = this.random.chance(0.2) ? 0 : offset
        await client.truncate(ino, 0, cut)
        naive.truncate(cut)
      } else if (kind < 8) {
        await client.zero(ino, 0, offset, length)
        naive.zero(offset, length)
      } else if (kind < 9) {
        await client.sync(ino, 0)
      }
      const read = await client.read(ino, 0, 0, 200_000)
      if (!read.equals(naive.read(0, 200_000))) expect.fail(`seed ${this.seed}: the modelled chunk (${read.length} bytes, should be ${naive.length})`)
      await this.pause()
    }
  }
}

describe('a data partition under faults', () => {
  const first = Number(process.env.ATOLL_SEED ?? 1)
  const count = Number(process.env.ATOLL_SEEDS ?? 3)
  for (const placement of ['hawaii', 'tivoli'] as const) {
    it(`loses no acknowledged write, never reads backwards, and ends with identical replicas (${placement}, seeds from ${first})`, async function () {
      this.timeout(0)
      let writes = 0
      let reads = 0
      for (let seed = first; seed < first + count; seed++) {
        const run = new Run(seed, placement)
        await run.play(20_000)
        writes += run.writes
        reads += run.reads
      }
      expect(writes).to.be.above(count * 20)
      expect(reads).to.be.above(count * 20)
    })
  }
})
