import { expect } from 'chai'
import { SimClock } from './clock.ts'
import { SimNetwork } from './network.ts'
import { ProcessPorts } from './process.ts'
import { SimRandom } from './random.ts'

describe('a simulated process', () => {
  it('that was about to stop when it died does not close the door of the one after it', async () => {
    const clock = new SimClock()
    const network = new SimNetwork({ clock, random: new SimRandom(1) })
    const address = { host: 'a', port: 1 }
    const first = new ProcessPorts(clock, network.host('a'))
    const listener = await first.network.listen(address, () => {})
    first.alive = false
    network.crash('a')
    await new ProcessPorts(clock, network.host('a')).network.listen(address, () => {})
    void listener.close()
    const connection = await clock.run(network.host('b').dial(address))
    expect(connection).to.not.equal(undefined)
    connection.close()
  })

  it('that waits again for what is left of a time comes to its end, however its clock rounds', async () => {
    const clock = new SimClock()
    const process = new ProcessPorts(clock, new SimNetwork({ clock, random: new SimRandom(1) }).host('a'), { rate: 1, offsetMs: 100_000, wallSkewMs: 0 })
    await clock.advance(1_000)
    let at = 0
    process.clock.setTimer(() => { at = clock.now() }, 1e-14)
    await clock.advance(1)
    expect(at).to.be.greaterThan(1_000)
  })
})
