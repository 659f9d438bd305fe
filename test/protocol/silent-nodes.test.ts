import { expect } from 'chai'
import { firstOf } from '../../fsnode/protocol/first-of.ts'
import { doubtAfterMs, Peer, timeoutScanMs } from '../../fsnode/protocol/peer.ts'
import { attemptTimeoutMs, ClusterRouter, findLeaderMs, mapDoubtMs } from '../../fsnode/protocol/router.ts'
import type { ClusterMap } from '../../partitioning/types.ts'
import { silent } from '../metadata/harness.ts'
import { SimClock } from '../sim/clock.ts'
import { SimNetwork } from '../sim/network.ts'
import { SimRandom } from '../sim/random.ts'

const members = ['n0', 'n1', 'n2']
/** From when others serve until the request is with them: the next look, the answers of the others, the look after that, the way. */
const noticedMsMax = 2 * timeoutScanMs + Math.max(findLeaderMs + timeoutScanMs, mapDoubtMs) + 100

/** Nodes of which one may be silent while others say what they know. */
class Nodes {
  readonly clock = new SimClock()
  readonly network = new SimNetwork({ clock: this.clock, random: new SimRandom(1) })
  /** Those that are silent, with what they will do when they are no more. */
  readonly silent = new Map<string, Array<() => void>>()
  readonly answered: string[] = []
  /** Who leads, and since which term, as a node knows. */
  leads: Record<string, { leader: string | null, term: number }> = {}
  sought = 0
  map!: ClusterMap
  router!: ClusterRouter

  static async open (): Promise<Nodes> {
    const nodes = new Nodes()
    nodes.map = nodes.mapWith(1, 'n0')
    for (const node of members) {
      await nodes.network.host(node).listen({ host: node, port: 1 }, (connection) => new Peer(connection, {
        'meta.statfs': () => nodes.reply(node, { inodes: 1 }),
        'data.position': () => nodes.reply(node, { origin: 'o', order: 1 }),
        'node.leader': () => { nodes.sought++; return nodes.reply(node, nodes.leads[node] ?? { leader: null, term: 0 }) },
        'node.map': ({ after }: { after: number }) => nodes.reply(node, { map: nodes.map.version > after ? nodes.map : undefined })
      } as never, nodes.clock))
    }
    nodes.router = new ClusterRouter({ network: nodes.network.host('client'), clock: nodes.clock, random: new SimRandom(2), log: silent }, { seeds: [] })
    nodes.router.adopt(nodes.map)
    return nodes
  }

  mapWith (version: number, primary: string): ClusterMap {
    return {
      clusterId: 'test', version, managers: members, volumes: [], metadata: [{ id: '7.m.0', volume: 7, index: 0, members }],
      data: [{ id: '7.d.0', volume: 7, index: 0, epoch: version, primary, replicas: members.map((node) => ({ node, state: 'serving' as const })) }],
      nodes: members.map((id) => ({ id, incarnation: 'i', peerId: id, host: id, rpcPort: 1, raftPort: 2, domain: [id], capacityBytes: 1, usedBytes: 0, disk: null, state: 'up' as const }))
    }
  }

  private async reply (node: string, body: object): Promise<any> {
    const silence = this.silent.get(node)
    if (silence !== undefined) await new Promise<void>((resolve) => { silence.push(resolve) })
    if (!('leader' in body) && !('map' in body)) this.answered.push(node)
    return { body }
  }
}

describe('requests to a node that is silent', () => {
  let nodes: Nodes
  beforeEach(async () => { nodes = await Nodes.open() })

  it('go to another member as soon as that leads, though the first attempt has time', async () => {
    const { clock, router } = nodes
    await clock.run(router.toMetadata('7.m.0', 'meta.statfs', { partition: '7.m.0' }))
    const leader = nodes.answered.pop()!
    const next = members.find((member) => member !== leader)!
    nodes.silent.set(leader, [])
    for (const member of members) nodes.leads[member] = { leader, term: 4 }
    const answer = router.toMetadata('7.m.0', 'meta.statfs', { partition: '7.m.0' })
    await clock.advance(3_000)
    expect(nodes.answered).to.deep.equal([])
    nodes.leads[next] = { leader: next, term: 5 }
    const since = clock.now()
    await clock.run(answer)
    expect(nodes.answered).to.deep.equal([next])
    expect(clock.now() - since).to.be.lessThan(noticedMsMax)
  })

  it('are not taken away by a member that is behind, nor do others ask while answers come soon', async () => {
    const { clock, router } = nodes
    await clock.run(router.toMetadata('7.m.0', 'meta.statfs', { partition: '7.m.0' }))
    const leader = nodes.answered.pop()!
    const stale = members.find((member) => member !== leader)!
    expect(nodes.sought).to.equal(0)
    for (const member of members) nodes.leads[member] = { leader, term: 4 }
    nodes.leads[stale] = { leader: stale, term: 3 }
    let retried = 0
    nodes.silent.set(leader, [])
    const answer = router.toMetadata('7.m.0', 'meta.statfs', { partition: '7.m.0' }, { onRetry: () => { retried++ } })
    await clock.advance(doubtAfterMs / 2)
    expect(nodes.sought).to.equal(0)
    await clock.advance(attemptTimeoutMs / 2)
    expect(nodes.sought).to.be.greaterThan(0)
    expect(retried).to.equal(0)
    for (const goOn of nodes.silent.get(leader)!) goOn()
    await clock.run(answer)
    expect(nodes.answered).to.deep.equal([leader])
  })

  it('go to the primary of a newer map, which any other node has', async () => {
    const { clock, router } = nodes
    nodes.silent.set('n0', [])
    const answer = router.toPrimary('7.d.0', 'data.position', (epoch, { id }) => ({ partition: id, epoch }))
    await clock.advance(3_000)
    nodes.map = nodes.mapWith(2, 'n1')
    const since = clock.now()
    await clock.run(answer)
    expect(nodes.answered).to.deep.equal(['n1'])
    expect(clock.now() - since).to.be.lessThan(noticedMsMax)
  })
})

describe('the first of several attempts', () => {
  const after = (clock: SimClock, ms: number, outcome: string | Error): Promise<string> => new Promise((resolve, reject) => {
    clock.setTimer(() => { if (outcome instanceof Error) reject(outcome); else resolve(outcome) }, ms)
  })

  const cases: Array<[string, Array<[ms: number, outcome: string | Error]>, { ms: number, begun: number, outcome: string }]> = [
    ['one that answers in time is the only one', [[50, 'a'], [1, 'b']], { ms: 50, begun: 1, outcome: 'a' }],
    ['the next begins when one has failed', [[50, new Error('no')], [10, 'b'], [1, 'c']], { ms: 60, begun: 2, outcome: 'b' }],
    ['or is silent for too long', [[5_000, 'a'], [10, 'b'], [1, 'c']], { ms: 110, begun: 2, outcome: 'b' }],
    ['one that was doubted may still be first', [[150, 'a'], [5_000, 'b'], [5_000, 'c']], { ms: 150, begun: 2, outcome: 'a' }],
    ['when all fail, with the last failure', [[10, new Error('one')], [10, new Error('two')]], { ms: 20, begun: 2, outcome: 'two' }]
  ]
  for (const [rule, attempts, expected] of cases) {
    it(rule, async () => {
      const clock = new SimClock()
      let begun = 0
      const outcome = await clock.run(firstOf(attempts.map(([ms, outcome]) => () => { begun++; return after(clock, ms, outcome) }), 100, clock).catch((error) => error.message as string))
      expect({ ms: clock.now(), begun, outcome }).to.deep.equal(expected)
    })
  }
})
