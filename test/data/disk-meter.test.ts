import { expect } from 'chai'
import { DiskMeter } from '../../fsnode/data/disk-meter.ts'
import { Space } from '../../fsnode/data/space.ts'
import { ChunkStore } from '../../fsnode/data/chunk-store.ts'
import { SimClock } from '../sim/clock.ts'
import { MemoryFiles } from '../sim/memory-files.ts'
import { SimRandom } from '../sim/random.ts'
import { silentLog } from './support.ts'

describe('the disk meter', () => {
  const work = (clock: SimClock, ms: number) => (): Promise<void> => new Promise((resolve) => { clock.setTimer(resolve, ms) })

  it('averages latency over small transfers, bandwidth over large ones that run alone, and the busy share of time', async () => {
    const clock = new SimClock()
    const meter = new DiskMeter(clock)
    expect(meter.current).to.equal(null)
    for (let count = 0; count < 200; count++) {
      await clock.run(meter.measure('read', 4096, work(clock, 2)))
      await clock.run(meter.measure('write', 1_000_000, work(clock, 5)))
      await clock.advance(3)
    }
    const measured = meter.current!
    expect(measured.readLatencyMs).to.be.closeTo(2, 0.001)
    expect(measured.writeBandwidth).to.be.closeTo(200_000_000, 1)
    expect(measured.utilization).to.be.closeTo(0.7, 0.01)
    expect(measured.readBandwidth).to.equal(0)
    for (let count = 0; count < 100; count++) await clock.run(meter.measure('read', 4096, work(clock, 8)))
    expect(meter.current!.readLatencyMs).to.be.above(7)
  })

  it('takes a disk for as fast as it was at best, and follows when it stays slower', async () => {
    const clock = new SimClock()
    const meter = new DiskMeter(clock)
    const write = async (count: number, msOf: (at: number) => number): Promise<number> => {
      for (let at = 0; at < count; at++) await clock.run(meter.measure('write', 1024 * 1024, work(clock, msOf(at))))
      return meter.current!.writeBandwidth / 1024 / 1024
    }
    expect(await write(40, () => 10)).to.be.closeTo(100, 0.1)
    // The process was busy now and then.
    expect(await write(40, (at) => at % 10 === 0 ? 40 : 10)).to.be.above(75)
    expect(await write(4, () => 100)).to.be.above(70)
    expect(await write(200, () => 100)).to.be.within(10, 12)
    expect(await write(4, () => 10)).to.be.closeTo(100, 0.1)
  })

  it('knows something of a disk from the start', async () => {
    const clock = new SimClock()
    const files = new MemoryFiles({ clock, random: new SimRandom(1) }, { delayMsMax: 1 })
    const store = new ChunkStore({ files, clock, log: silentLog }, { directory: '/d/partitions' })
    await clock.run(store.open())
    const measured = store.disk!
    expect(measured.writeBandwidth).to.be.above(0)
    expect(measured.readBandwidth).to.be.above(0)
    expect(measured.writeLatencyMs).to.be.above(0)
    expect(measured.readLatencyMs).to.be.above(0)
    expect(files.paths).to.deep.equal([])
    expect(await clock.run(store.partitions())).to.deep.equal([])
  })
})

describe('the room on a disk', () => {
  it('is known between looks by what was written, and looked at again in time', async () => {
    const clock = new SimClock()
    const files = new MemoryFiles({}, { capacityBytes: 1_000_000 })
    const space = new Space(files, clock, '/', 100_000)
    await space.look()
    expect([space.full, space.exhausted]).to.deep.equal([false, false])
    space.grew(920_000)
    expect(space.freeBytes).to.equal(80_000)
    expect([space.full, space.exhausted]).to.deep.equal([true, false])
    // It was more than a part of the reserve: the look that this began finds the truth.
    await clock.advance(1)
    expect(space.freeBytes).to.equal(1_000_000)
    expect(space.full).to.equal(false)
    files.capacityBytes = 40_000
    await clock.advance(1_500)
    expect(space.full).to.equal(false)
    await clock.advance(1)
    expect([space.full, space.exhausted]).to.deep.equal([true, true])
  })
})
