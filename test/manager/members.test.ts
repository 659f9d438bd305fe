import { expect } from 'chai'
import { replaceAfterMs } from '../../fsnode/manager/bounds.ts'
import { LeaderFacts } from '../../fsnode/manager/leader-facts.ts'
import { ManagerState } from '../../fsnode/manager/manager-state.ts'
import { membersChanged, membersPending, moveMember, nextMembers } from '../../fsnode/manager/members.ts'
import { nextMembers as nextStep } from '../../fsnode/server/members-pursuer.ts'
import type { NodeInfo, VolumeInfo } from '../../partitioning/types.ts'
import { SimRandom } from '../sim/random.ts'

const volume: VolumeInfo = { id: 1, name: 'main', placement: 'hawaii', replicas: 3, chunkSizeBytes: 4096, inlineBytesMax: 0, dataPartitions: 1, metadataPartitions: 1 }
const nodeOf = (id: string, fields: Partial<NodeInfo> = {}): NodeInfo => ({
  id, incarnation: id, peerId: id, host: id, rpcPort: 1, raftPort: 2, domain: [], capacityBytes: 1e9, usedBytes: 0, disk: null, state: 'up', ...fields
})

interface Given { nodes: NodeInfo[], groups: string[][], managers?: string[], replicas?: number }

function stateOf ({ nodes, groups, managers = ['a'], replicas = 3 }: Given): ManagerState {
  const state = ManagerState.empty('c', managers)
  state.apply({ base: 1, nodes, volumes: [{ ...volume, replicas }], metadata: groups.map((members, index) => ({ id: `1.m.${index}`, volume: 1, index, members })) })
  return state
}

/** Decides, with nodes that are down for `downMs`. */
function decide (state: ManagerState, downMs = 0): ReturnType<typeof nextMembers> {
  const facts = new LeaderFacts(0)
  facts.observe(state, 0)
  return nextMembers({ state, facts, nowMs: downMs, wallMs: 0 })
}

/** Applies what is decided and says that it is done, until nothing is left to do. */
function settle (state: ManagerState, downMs = 0): string[][] {
  for (let round = 0; round < 200; round++) {
    const next = decide(state, downMs)
    if (next !== null) state.apply({ base: state.map.version, ...next })
    const { metadata, managersChange } = state.map
    const changes = [...metadata.map(({ id, change }) => ({ id, change })), { id: 'manager', change: managersChange }].filter(({ change }) => change !== undefined)
    if (next === null && changes.length === 0) return metadata.map(({ members }) => [...members].sort())
    for (const { id, change } of changes) state.apply(membersChanged(state, { group: id, revision: change!.revision, members: change!.target })!)
  }
  throw new Error('it does not come to rest')
}

describe('who are members of Raft groups', () => {
  const five = ['a', 'b', 'c', 'd', 'e'].map((id) => nodeOf(id))
  const with_ = (nodes: NodeInfo[], id: string, fields: Partial<NodeInfo>): NodeInfo[] => nodes.map((node) => node.id === id ? { ...node, ...fields } : node)

  it('a member on a node that is drained is replaced by one on the node with the fewest', () => {
    const state = stateOf({ nodes: with_(five, 'b', { state: 'draining' }), groups: [['a', 'b', 'c'], ['a', 'c', 'd']], managers: ['a', 'c', 'd'] })
    expect(settle(state)[0]).to.deep.equal(['a', 'c', 'e'])
  })

  it('of a volume with more replicas are more: how many groups wait for theirs is told, from when the volume was changed until the last one has said so', () => {
    const state = stateOf({ nodes: five, groups: Array(6).fill(['a', 'b', 'c']), managers: ['a', 'b', 'c'] })
    settle(state)
    const pending = (): number => {
      const facts = new LeaderFacts(0)
      facts.observe(state, 0)
      return membersPending({ state, facts, nowMs: 0, wallMs: 0 }, state.map.volumes[0]!)
    }
    expect(pending()).to.equal(0)
    state.apply({ base: state.map.version, volumes: [{ ...volume, replicas: 4 }] })
    const told = [pending()]
    while (told.at(-1)! > 0) {
      const next = decide(state)
      if (next !== null) state.apply({ base: state.map.version, ...next })
      const { id, change } = state.map.metadata.find((group) => group.change !== undefined)!
      state.apply(membersChanged(state, { group: id, revision: change!.revision, members: change!.target })!)
      told.push(pending())
    }
    expect(told).to.deep.equal([6, 5, 4, 3, 2, 1, 0])
    expect(settle(state)).to.deep.equal(Array(6).fill(['a', 'b', 'c', 'd', 'e']))
  })

  it('a node that is down keeps its members for a while, then loses them', () => {
    const nodes = with_(five, 'b', { state: 'down' })
    const groups = [['a', 'b', 'c']]
    expect(settle(stateOf({ nodes, groups, managers: ['a', 'c', 'd'] }), replaceAfterMs - 1)).to.deep.equal([['a', 'b', 'c']])
    expect(settle(stateOf({ nodes, groups, managers: ['a', 'c', 'd'] }), replaceAfterMs)[0]).to.not.include('b')
  })

  it('without a node to take its place a member stays: a group never gets smaller', () => {
    const nodes = with_(five.slice(0, 3), 'b', { state: 'draining' })
    expect(settle(stateOf({ nodes, groups: [['a', 'b', 'c']], managers: ['a', 'b', 'c'] }))).to.deep.equal([['a', 'b', 'c']])
    expect(settle(stateOf({ nodes: with_(five.slice(0, 3), 'c', { state: 'down' }), groups: [['a', 'b', 'c']], managers: ['a', 'b', 'c'] }), replaceAfterMs)).to.deep.equal([['a', 'b', 'c']])
  })

  it('groups grow to three when there are three nodes, to five for many replicas; never to an even number', () => {
    expect(settle(stateOf({ nodes: five.slice(0, 2), groups: [['a']] }))).to.deep.equal([['a']])
    const state = stateOf({ nodes: five.slice(0, 4), groups: [['a']] })
    expect(settle(state)[0]!.length).to.equal(3)
    expect(state.map.managers.length).to.equal(3)
    expect(settle(stateOf({ nodes: five, groups: [['a', 'b', 'c']], replicas: 5 }))[0]!.length).to.equal(5)
  })

  it('members are in different fault domains where there are enough', () => {
    const nodes = [...five, nodeOf('f')].map((node, at) => ({ ...node, domain: [`zone-${at % 3}`] }))
    const state = stateOf({ nodes: with_(nodes, 'b', { state: 'draining' }), groups: [['a', 'b', 'c']], managers: ['a', 'c', 'e'] })
    // a and d are in one zone, c and f in another.
    expect(settle(state)[0]).to.deep.equal(['a', 'c', 'e'])
  })

  it('new nodes take over members until none has two more than another; then it comes to rest', () => {
    const groups = Array.from({ length: 8 }, () => ['a', 'b', 'c'])
    const state = stateOf({ nodes: five, groups, managers: ['a', 'b', 'c'] })
    const members = [...settle(state), state.map.managers]
    const counts = five.map(({ id }) => members.filter((group) => group.includes(id)).length)
    expect(Math.max(...counts) - Math.min(...counts)).to.be.at.most(1)
    expect(decide(state)).to.equal(null)
  })

  it('with balancing switched off only what must go goes', () => {
    const state = stateOf({ nodes: with_(five, 'b', { state: 'draining' }), groups: [['a', 'b', 'c'], ['a']], managers: ['a', 'c', 'd'] })
    state.apply({ base: state.map.version, balance: { automatic: false } })
    const [first, second] = settle(state)
    expect(first).to.not.include('b')
    expect(second).to.deep.equal(['a'])
  })

  it('a target that goes, too, is replaced by another; whoever may have joined is not forgotten meanwhile', () => {
    const state = stateOf({ nodes: with_(five, 'b', { state: 'draining' }), groups: [['a', 'b', 'c']], managers: ['a', 'c', 'd'] })
    state.apply({ base: state.map.version, ...decide(state)! })
    const { change: first } = state.map.metadata[0]!
    const added = first!.target.find((node) => !['a', 'b', 'c'].includes(node))!
    state.apply({ base: state.map.version, nodes: [{ ...state.node(added)!, state: 'draining' }] })
    state.apply({ base: state.map.version, ...decide(state)! })
    const { change: second } = state.map.metadata[0]!
    expect(second!.target).to.not.include(added)
    expect(second!.hosts).to.include.members(['a', 'b', 'c', added, ...second!.target])
    // News of the first target is old news.
    expect(membersChanged(state, { group: '1.m.0', revision: first!.revision, members: first!.target })).to.equal(null)
    expect(membersChanged(state, { group: '1.m.0', revision: second!.revision, members: first!.target })).to.equal(null)
    expect(membersChanged(state, { group: '1.m.0', revision: second!.revision, members: [...second!.target].reverse() })).to.not.equal(null)
  })

  it('an operator moves one member; what cannot be is refused', () => {
    const state = stateOf({ nodes: five, groups: [['a', 'b', 'c']], managers: ['a', 'b', 'c'] })
    const refusal = (...args: [string, string, string]): string => {
      try {
        moveMember(state, ...args)
        return 'none'
      } catch (error) {
        return (error as { code: string }).code
      }
    }
    expect(refusal('1.m.7', 'a', 'd')).to.equal('ATOLL_NO_SUCH_PARTITION')
    expect(refusal('1.m.0', 'd', 'e')).to.equal('ATOLL_BAD_ARGUMENT')
    expect(refusal('1.m.0', 'a', 'b')).to.equal('ATOLL_BAD_ARGUMENT')
    state.apply(moveMember(state, '1.m.0', 'a', 'd'))
    expect(refusal('1.m.0', 'b', 'e')).to.equal('ATOLL_PLAN_CONFLICT')
    state.apply(moveMember(state, 'manager', 'b', 'e'))
    expect([state.map.metadata[0]!.change!.target, state.map.managersChange!.target]).to.deep.equal([['d', 'b', 'c'], ['a', 'e', 'c']])
  })

  it('steps from any members to any target: one at a time, never fewer than both ends have', () => {
    const random = new SimRandom(7)
    for (let round = 0; round < 300; round++) {
      const draw = (): string[] => ['a', 'b', 'c', 'd', 'e', 'f'].filter(() => random.chance(0.5))
      const [start, target] = [draw(), draw()]
      if (start.length === 0 || target.length === 0) continue
      let members = start
      for (let step = 0; ; step++) {
        const next = nextStep(members, target)
        if (next === null) break
        expect(Math.abs(next.length - members.length)).to.equal(1)
        expect(next.length).to.be.at.least(Math.min(start.length, target.length))
        expect(step).to.be.lessThan(12)
        members = next
      }
      expect(members).to.have.members(target)
    }
  })
})
