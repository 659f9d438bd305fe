import { expect } from 'chai'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { Peer } from '../../fsnode/protocol/peer.ts'
import { ClusterRouter } from '../../fsnode/protocol/router.ts'
import type { ClusterMap } from '../../partitioning/types.ts'
import { silent } from '../metadata/harness.ts'
import { SimClock } from '../sim/clock.ts'
import { SimNetwork } from '../sim/network.ts'
import { SimRandom } from '../sim/random.ts'

const members = ['n0', 'n1', 'n2']

/** Nodes that say who leads a group, or answer, and a router that knows them. */
class Group {
  readonly clock = new SimClock()
  readonly asked: string[] = []
  /** When an answer first named a leader. */
  namedAt: number | null = null
  /** Whom the node takes for the leader. */
  leaderSeenBy: (node: string) => string | null = () => null
  router!: ClusterRouter

  static async open (): Promise<Group> {
    const group = new Group()
    const { clock } = group
    const network = new SimNetwork({ clock, random: new SimRandom(1) })
    const map: ClusterMap = {
      clusterId: 'test', version: 1, managers: members, volumes: [], data: [], metadata: [{ id: '7.m.0', volume: 7, index: 0, members }],
      nodes: members.map((id) => ({
        id, incarnation: 'i', peerId: id, host: id, rpcPort: 1, raftPort: 2, domain: [id], capacityBytes: 1, usedBytes: 0, disk: null, state: 'up'
      }))
    }
    for (const node of members) {
      await network.host(node).listen({ host: node, port: 1 }, (connection) => new Peer(connection, { 'meta.statfs': () => group.answer(node) }, clock))
    }
    group.router = new ClusterRouter({ network: network.host('client'), clock, random: new SimRandom(2), log: silent }, { seeds: [] })
    group.router.adopt(map)
    return group
  }

  ask (patienceMs?: number): Promise<unknown> { return this.router.toMetadata('7.m.0', 'meta.statfs', { partition: '7.m.0' }, { patienceMs }) }

  private answer (node: string): { body: { inodes: number } } {
    this.asked.push(node)
    const leader = this.leaderSeenBy(node)
    if (leader !== null) this.namedAt ??= this.clock.now()
    if (leader === node) return { body: { inodes: 1 } }
    throw new AtollError('ATOLL_NOT_LEADER', `${node} does not lead`, { leader })
  }
}

describe('routing to the leader of a group', () => {
  for (const outageMs of [0, 100, 2_000, 20_000]) {
    it(`goes at once where the leader is said to be, after ${outageMs} ms without one`, async () => {
      const group = await Group.open()
      const { clock } = group
      const answered = group.ask()
      await clock.advance(outageMs)
      // Not the one that is asked next.
      const leader = members[(group.asked.length + 1) % members.length]!
      group.leaderSeenBy = () => leader
      await clock.run(answered)
      expect(group.asked.at(-1)).to.equal(leader)
      expect(clock.now() - group.namedAt!).to.be.lessThan(10)
    })
  }

  it('does not chase names that go in a circle', async () => {
    const group = await Group.open()
    group.leaderSeenBy = (node) => members[(members.indexOf(node) + 1) % members.length]!
    const code = await group.clock.run(group.ask(10_000).then(() => 'well', (error) => error.code))
    expect(code).to.equal('ATOLL_NOT_LEADER')
    expect(group.asked.length).to.be.within(20, 200)
  })
})
