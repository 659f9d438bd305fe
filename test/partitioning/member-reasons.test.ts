import { expect } from 'chai'
import { explainMembers, type MemberReason } from '../../partitioning/member-reasons.ts'
import type { ClusterMap, NodeInfo } from '../../partitioning/types.ts'

const node = (id: string, domain = '', state: NodeInfo['state'] = 'up'): NodeInfo => ({
  id, incarnation: id, peerId: id, host: id, rpcPort: 1, raftPort: 2, domain: domain === '' ? [] : domain.split('/'), capacityBytes: 1, usedBytes: 0, disk: null, state
})
type Map = Pick<ClusterMap, 'nodes' | 'managers' | 'managersChange' | 'metadata'>
const mapOf = (nodes: NodeInfo[], groups: string[], managers: string): Map => ({ nodes, managers: managers.split(''), metadata: groups.map((members, index) => ({ id: `1.m.${index}`, volume: 1, index, members: members.split('') })) })

describe('why members of a Raft group are where they are', () => {
  const cases: Array<{ name: string, map: Map, change?: string, leader?: string, expected: string[] }> = [
    {
      name: 'the leader first; one in a domain with another says so; one outside takes the place of one that is in two groups more',
      map: mapOf([node('a', 'z1/r1'), node('b', 'z1/r2'), node('c', 'z2/r3'), node('d', 'z1/r1'), node('e', 'z1/r1')], ['abc'], 'abc'),
      leader: 'c',
      expected: [
        'c leader 0: shares no domain with another member',
        'a member 1: is in z1 like b; no other node that is up would share less',
        'b member 1: is in z1 like a; no other node that is up would share less',
        'd none 1: takes the place of a when groups are evened out: it is in 0, that one in 2',
        'e none 1: takes the place of a when groups are evened out: it is in 0, that one in 2'
      ]
    },
    {
      name: 'a node outside whose domain is taken, one that is down and one that is emptied',
      map: mapOf([node('a', 'r1'), node('b', 'r2'), node('c', 'r3'), node('d', 'r4', 'down'), node('e', 'r5', 'draining')], ['abc'], 'a'),
      expected: [
        'a member 0: shares no domain with another member',
        'b member 0: shares no domain with another member',
        'c member 0: shares no domain with another member',
        'd none 0: takes no members: it is down',
        'e none 0: takes no members: it is being emptied'
      ]
    },
    {
      name: 'a node takes only the place of one that shares as much as it would',
      map: mapOf([node('a', 'z1/r1'), node('b', 'z1/r2'), node('c', 'z1/r3'), node('d', 'z2/r4'), node('e', 'z2/r4')], ['abd'], 'abc'),
      expected: [
        'a member 1: is in z1 like b; no other node that is up would share less',
        'b member 1: is in z1 like a; no other node that is up would share less',
        'd member 0: shares no domain with another member',
        'c none 1: could take the place of a or b, which would even nothing out: it is in 1, none of those in more than 2',
        'e none 0: could take the place of d, which would even nothing out: it is in 0, none of those in more than 1'
      ]
    },
    {
      name: 'members that are being changed: who comes, who goes, and why the one that goes does',
      map: mapOf([node('a'), node('b', '', 'draining'), node('c'), node('d')], ['abc'], 'a'),
      change: 'acd',
      leader: 'a',
      expected: [
        'a leader 0: shares no domain with another member',
        'c member 0: shares no domain with another member',
        'd joining 0: shares no domain with another member',
        'b leaving 0: takes no members: it is being emptied'
      ]
    },
    {
      name: 'without a node to take its place a member stays where it is',
      map: mapOf([node('a'), node('b', '', 'down'), node('c')], ['abc'], 'abc'),
      expected: [
        'a member 0: shares no domain with another member',
        'b member 0: is down, but keeps its place until another has it; shares no domain with another member',
        'c member 0: shares no domain with another member'
      ]
    }
  ]
  const line = ({ node: id, role, shared, why }: MemberReason): string => `${id} ${role} ${shared}: ${why}`
  for (const { name, map, change, leader, expected } of cases) {
    it(name, () => {
      const group = { ...map.metadata[0]!, ...(change !== undefined && { change: { revision: 1, target: change.split(''), hosts: [] } }) }
      expect(explainMembers({ ...map, metadata: [group] }, group, leader ?? null).map(line)).to.deep.equal(expected)
    })
  }

  it('counts groups with the manager, as they shall be, beside what each node would have', () => {
    const map = mapOf([node('a'), node('b'), node('c'), node('d', '', 'draining')], ['abc', 'bcd'], 'abc')
    const reasons = explainMembers(map, map.metadata[1]!, null)
    expect(Object.fromEntries(reasons.map(({ node: id, groups }) => [id, groups]))).to.deep.equal({ a: 2, b: 3, c: 3, d: 1 })
    expect(reasons.map(({ groupShare }) => groupShare)).to.deep.equal([3, 3, 3, 3])
  })
})
