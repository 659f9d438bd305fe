import { expect } from 'chai'
import { Peer } from '../../fsnode/protocol/peer.ts'
import { PeerPool } from '../../fsnode/protocol/pool.ts'
import { SimClock } from './clock.ts'
import { SimNetwork } from './network.ts'
import { SimRandom } from './random.ts'

describe('the simulated network', () => {
  const hello = { clusterId: 'c', nodeId: 'node-1', incarnation: 'i', peerId: 'p', host: 'b', rpcPort: 1, raftPort: 2 }

  it('carries calls, hangs across a cut, resumes when healed, and resets on a crash', async () => {
    const clock = new SimClock()
    const network = new SimNetwork({ clock, random: new SimRandom(1) })
    await network.host('b').listen({ host: 'b', port: 1 }, (connection) => new Peer(connection, { 'node.hello': () => ({ body: hello }) }, clock))
    const pool = new PeerPool({ network: network.host('a'), clock })
    const peer = await clock.run(pool.get({ host: 'b', port: 1 }))
    expect((await clock.run(peer.call('node.hello', {}))).body).to.deep.equal(hello)

    network.cut('a', 'b')
    const timedOut = peer.call('node.hello', {}, { timeoutMs: 1_000 }).catch((error) => error.code)
    expect(await clock.run(timedOut)).to.equal('ATOLL_TIMEOUT')
    network.heal()
    expect((await clock.run(peer.call('node.hello', {}))).body).to.deep.equal(hello)

    network.crash('b')
    const lost = peer.call('node.hello', {}).catch((error) => error.code)
    expect(await clock.run(lost)).to.equal('ATOLL_CONNECTION_LOST')
    expect(await clock.run(pool.get({ host: 'b', port: 1 }).catch((error) => error.code))).to.equal('ATOLL_UNREACHABLE')
  })
})
