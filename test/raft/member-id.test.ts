import { expect } from 'chai'
import { addressOf, freshMemberId, nodeOfMember, parseAddress } from '../../fsnode/raft/member-id.ts'
import type { RaftGroup } from '../../fsnode/raft/types.ts'
import { SimRandom } from '../sim/random.ts'
import { LogMachine } from './log-machine.ts'
import { SimCluster, type SimNode } from './sim-cluster.ts'

const groupId = '1.m.0'

describe('names of members', () => {
  it('tell which replica a message is from, and for; between first members they cost nothing', () => {
    const random = new SimRandom(1)
    const [first, later] = [freshMemberId('node-1', random), freshMemberId('node-1', random)]
    expect(first).to.not.equal(later)
    expect([first, 'node-1'].map(nodeOfMember)).to.deep.equal(['node-1', 'node-1'])
    expect(addressOf(groupId, 'a', 'b')).to.equal(groupId)
    for (const from of ['a', freshMemberId('a', random)]) {
      for (const to of ['b', freshMemberId('b', random)]) {
        expect(parseAddress(addressOf(groupId, from, to), 'a', 'b')).to.deep.equal({ group: groupId, from, to })
      }
    }
  })

  it('a node that left and came back with an empty log lends no vote to whoever still counts on its former replica', async () => {
    const cluster = await new SimCluster({ nodes: 3 }).start()
    const { clock, network } = cluster
    const leader = await cluster.untilLeader()
    const [back, stale] = cluster.running.filter((node) => node !== leader) as [SimNode, SimNode]
    for (let at = 0; at < 20; at++) await clock.run(cluster.propose(leader, `before-${at}`))
    // One is cut off, and knows of nothing that follows.
    network.partition([stale.id], [leader.id])
    network.partition([stale.id], [back.id])
    await clock.run(cluster.startNode('n4', []))
    await clock.run(leader.group.changeMembers([leader.id, back.id, stale.id, 'n4']))
    await clock.run(leader.group.changeMembers([leader.id, back.id, 'n4']))
    await clock.run(cluster.propose(leader, 'acknowledged'))
    await clock.run(leader.group.changeMembers([leader.id, 'n4']))
    await clock.run(back.group.close())
    await clock.run(back.host.remove(groupId))
    const random = new SimRandom(2)
    const group: RaftGroup = await clock.run(back.host.open({ groupId, members: [], memberId: freshMemberId(back.id, random), stateMachine: new LogMachine() }))
    // Its own members are cut off from it now, the stale one is not: its log is longer than the empty one.
    network.partition([back.id], [leader.id])
    network.partition([back.id], ['n4'])
    network.healOneWay(stale.id, back.id)
    network.healOneWay(back.id, stale.id)
    let led = false
    stale.group.onStatus(({ role }) => { led ||= role === 'leader' })
    await clock.advance(20_000)
    expect([led, stale.group.status.role === 'leader']).to.deep.equal([false, false])
    network.heal()
    await clock.run(leader.group.changeMembers([leader.id, 'n4', group.memberId]), 30_000)
    await clock.until(() => group.status.appliedIndex >= leader.group.status.commitIndex, 20_000)
    expect(group.status.members).to.have.members([leader.id, 'n4', back.id])
    expect(group.status.leader).to.equal(leader.group.status.leader)
    // Its name outlasts the process.
    const { memberId } = group
    await clock.run(group.close())
    const again = await clock.run(back.host.open({ groupId, members: [], memberId: freshMemberId(back.id, random), stateMachine: new LogMachine() }))
    expect(again.memberId).to.equal(memberId)
    expect(cluster.violations).to.deep.equal([])
  })
})
