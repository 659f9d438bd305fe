import { expect } from 'chai'
import { copyRateMin, CopyGovernor, endangeredRateMin, governorWindowMs } from '../../fsnode/data/copy-governor.ts'
import { SimClock } from '../sim/clock.ts'

const pieceBytes = 128 * 1024
const copyBytes = 1024 * 1024

describe('the governor of copies', () => {
  let clock: SimClock
  let governor: CopyGovernor
  let copied: number
  let stopped: boolean

  beforeEach(() => {
    clock = new SimClock()
    governor = new CopyGovernor(clock)
    copied = 0
    stopped = false
  })

  const copy = async (endangered = false): Promise<void> => {
    while (!stopped) {
      await governor.take(copyBytes, endangered)
      copied += copyBytes
      // A copy takes its time, too.
      await new Promise<void>((resolve) => { clock.setTimer(resolve, 1) })
    }
  }

  /** A client that does 100 operations a second; `latencyMs` says how long each takes. */
  const serve = (latencyMs: () => number): void => {
    const tick = (): void => {
      if (stopped) return
      governor.served(latencyMs(), pieceBytes)
      clock.setTimer(tick, 10)
    }
    tick()
  }

  const rateOver = async (ms: number): Promise<number> => {
    const before = copied
    await clock.advance(ms)
    return (copied - before) * 1000 / ms
  }

  afterEach(async () => {
    stopped = true
    await clock.advance(2 * governorWindowMs)
  })

  it('without clients copies soon go as fast as they can', async () => {
    void copy()
    await clock.advance(3_000)
    expect(await rateOver(2_000)).to.be.greaterThan(500 * 2 ** 20)
  })

  it('clients that do not suffer do not slow copies down', async () => {
    serve(() => 5)
    await clock.advance(1_000)
    void copy()
    await clock.advance(8_000)
    expect(await rateOver(2_000)).to.be.greaterThan(300 * 2 ** 20)
  })

  it('copies make way until clients wait hardly longer than without them', async () => {
    // Each MiB/s of copies costs clients 0.2 ms: 1.3 times of 4 ms, and 1 ms, are reached at 11 MiB/s.
    let [before, recent] = [0, 0]
    const sample = (): void => {
      recent = (copied - before) / 2 ** 20 * 10
      before = copied
      if (!stopped) clock.setTimer(sample, 100)
    }
    sample()
    serve(() => 4 + 0.2 * Math.min(200, recent))
    void copy()
    await clock.advance(20_000)
    expect(await rateOver(20_000) / 2 ** 20).to.be.within(4, 18)
  })

  it('copies make way also where only few operations wait long', async () => {
    let [copiedBefore, turn] = [0, 0]
    // One of ten waits for what was copied meanwhile.
    serve(() => {
      const recent = copied - copiedBefore
      if (++turn % 10 !== 0) return 4
      copiedBefore = copied
      return 4 + 10 * recent / 2 ** 20
    })
    void copy()
    await clock.advance(20_000)
    expect(await rateOver(20_000) / 2 ** 20).to.be.within(1, 14)
  })

  it('however much clients suffer, copies go on; and faster where replicas are missing', async () => {
    let busy = false
    serve(() => busy ? 500 : 1)
    await clock.advance(1_000)
    busy = true
    void copy()
    await clock.advance(5_000)
    expect(await rateOver(3_000)).to.be.within(copyRateMin / 2, copyRateMin * 2)
    stopped = true
    await clock.advance(1_000)
    stopped = false
    serve(() => 500)
    void copy(true)
    await clock.advance(1_000)
    expect(await rateOver(2_000)).to.be.greaterThan(endangeredRateMin * 0.8)
  })

  it('what clients wait without copies is learned anew: a slower disk does not hold copies back for ever', async () => {
    let latencyMs = 1
    serve(() => latencyMs)
    await clock.advance(1_000)
    void copy()
    await clock.advance(2_000)
    latencyMs = 20
    await clock.advance(30_000)
    expect(await rateOver(5_000)).to.be.greaterThan(50 * 2 ** 20)
  })
})
