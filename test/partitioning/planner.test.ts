import { expect } from 'chai'
import fc from 'fast-check'
import { hawaii, type PlacementNode } from '../../partitioning/hawaii.ts'
import {
  actionsOf, beginPlan, failuresMax, nextMoves, observedEvents, planMoves, planProgress, retryDelayMs, stepPlan, urgencyOfBalance, urgencyOfDomains, urgencyOfLead,
  type Plan, type PlanBudget, type PlanEvent, type PlanNode, type PlanPartition, type PlanSnapshot, type PlanState, type PlanTarget
} from '../../partitioning/planner.ts'
import type { NodeId } from '../../partitioning/types.ts'
import { SimRandom } from '../sim/random.ts'
import { domainAt } from './naive-placement.ts'
import { trials } from './trials.ts'

const unbounded: PlanBudget = { nowMs: 0, bytesPerSecond: null, copiesPerNode: 1000, copiesMax: 1000, leadsMax: 1000 }
const up = (id: string, ...domain: string[]): PlanNode => ({ id, domain, state: 'up' })
const held = (id: string, replicas: NodeId[], fields: Partial<PlanPartition> = {}): PlanPartition =>
  ({ id, replicas: replicas.map((node) => ({ node, serving: true })), primary: replicas[0] ?? null, bytes: 10, ...fields })
const targets = (entries: Record<string, NodeId[]>): PlanTarget => ({ partitions: Object.entries(entries).map(([id, replicas]) => ({ id, replicas })) })
const summary = (plan: Plan): string[] => plan.moves.map((move) => `${move.partition} ${move.kind === 'lead' ? 'lead' : 'copy'} ${move.from ?? '-'}>${move.to ?? '-'}${move.kind === 'replica' && move.lead !== null ? ` lead ${move.lead}` : ''}`)

interface Live { replicas: Map<NodeId, boolean>, primary: NodeId | null }

/** A cluster that does what a plan asks, one thing at a time, in any order, and checks the rules after each. */
class Executor {
  readonly live = new Map<string, Live>()
  private readonly plan: Plan
  private readonly nodes: PlacementNode[]
  state: PlanState
  private readonly start = new Map<string, { serving: number, pairs: number[] }>()
  private readonly wanted: Map<string, readonly NodeId[]>

  constructor (snapshot: PlanSnapshot, target: PlanTarget, plan = planMoves(snapshot, target)) {
    this.plan = plan
    this.state = beginPlan(plan)
    this.nodes = snapshot.nodes.map(({ id, domain }) => ({ id, domain, weight: 1 }))
    this.wanted = new Map(target.partitions.map(({ id, replicas }) => [id, replicas]))
    for (const { id, replicas, primary } of snapshot.partitions) {
      this.live.set(id, { replicas: new Map(replicas.map(({ node, serving }) => [node, serving])), primary })
      this.start.set(id, { serving: replicas.filter(({ serving }) => serving).length, pairs: this.pairs(replicas.map(({ node }) => node)) })
    }
  }

  send (event: PlanEvent): void {
    const before = JSON.stringify(this.state)
    const next = stepPlan(this.plan, this.state, event)
    expect(JSON.stringify(this.state)).to.equal(before)
    // What is stored comes back the same.
    this.state = JSON.parse(JSON.stringify(next)) as PlanState
    expect(this.state).to.deep.equal(next)
  }

  begin (budget: PlanBudget): number {
    const moves = nextMoves(this.plan, this.state, budget)
    if (moves.length > 0) this.send({ kind: 'begun', moves, nowMs: budget.nowMs, bytesPerSecond: budget.bytesPerSecond })
    return moves.length
  }

  /** Does one of the things that are to be done now. */
  act (random: SimRandom, fails: boolean, nowMs: number): void {
    const actions = actionsOf(this.plan, this.state)
    if (actions.length === 0) return
    const { index, stage, move } = actions[Math.floor(random.next() * actions.length)]!
    const live = this.live.get(move.partition)!
    if (fails && stage !== 'drop' && stage !== 'undo') this.send({ kind: 'failed', move: index, nowMs })
    else if (stage === 'copy') live.replicas.set(move.to!, live.replicas.has(move.to!) ? true : random.next() < 0.5)
    else if (stage === 'verify') this.send({ kind: 'verified', move: index })
    else if (stage === 'lead') live.primary = move.kind === 'lead' ? move.to : move.lead
    else live.replicas.delete(stage === 'undo' ? move.to! : move.from!)
    this.check(move.partition)
    const events = observedEvents(this.plan, this.state, (id) => this.shown(id))
    // Events may come twice.
    for (const event of [...events, ...events.slice(0, 1)]) this.send(event)
  }

  private shown (id: string): { replicas: Array<{ node: NodeId, state: 'serving' | 'syncing' }>, primary: NodeId | null } {
    const live = this.live.get(id)!
    return { replicas: [...live.replicas].map(([node, serving]) => ({ node, state: serving ? 'serving' : 'syncing' })), primary: live.primary }
  }

  private pairs (ids: NodeId[]): number[] {
    const depth = Math.max(0, ...this.nodes.map(({ domain }) => domain.length))
    const named = ids.map((id) => this.nodes.find((node) => node.id === id)!)
    return Array.from({ length: depth }, (_, level) => {
      const labels = named.map((node) => domainAt(node, level))
      return labels.reduce((sum, label, at) => sum + labels.slice(at + 1).filter((other) => other === label).length, 0)
    })
  }

  check (id: string): void {
    const { replicas, primary } = this.live.get(id)!
    const { serving, pairs } = this.start.get(id)!
    const wanted = this.wanted.get(id)!
    const shown = `${id}: ${JSON.stringify([...replicas])} ${JSON.stringify(this.plan.moves.filter(({ partition }) => partition === id))}`
    expect([...replicas.values()].filter(Boolean).length, shown).to.be.at.least(Math.min(serving, wanted.length))
    expect(replicas.size, shown).to.be.at.most(Math.max(this.startCount(id), wanted.length) + 1)
    if (primary !== null && this.startHeld(id)) expect(replicas.has(primary), shown).to.equal(true)
    // A replica and its replacement are one: without either, no domain holds two that held one at both ends.
    const active = this.state.active.map(({ move }) => this.plan.moves[move]!).find(({ partition }) => partition === id)
    const worst = this.pairs([...wanted]).map((count, level) => Math.max(count, pairs[level]!))
    const sets = active?.kind === 'replica' && active.from !== null && active.to !== null
      ? [[...replicas.keys()].filter((node) => node !== active.from), [...replicas.keys()].filter((node) => node !== active.to)]
      : [[...replicas.keys()]]
    for (const set of sets) this.pairs(set).forEach((count, level) => { expect(count, shown).to.be.at.most(worst[level]!) })
  }

  private startCount (id: string): number { return this.startReplicas.get(id)!.length }

  private startHeld (id: string): boolean { return this.startReplicas.has(id) }

  readonly startReplicas = new Map<string, NodeId[]>()

  remember (): this {
    for (const [id, { replicas }] of this.live) this.startReplicas.set(id, [...replicas.keys()])
    return this
  }

  expectTarget (): void {
    for (const [id, wanted] of this.wanted) {
      const { replicas, primary } = this.live.get(id)!
      expect([...replicas.keys()].sort(), id).to.deep.equal([...wanted].sort())
      expect(primary).to.equal(wanted[0])
    }
  }
}

const anyChange = fc.record({
  nodes: fc.array(fc.record({
    domain: fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.constantFrom('r1', 'r2', 'r3')),
    before: fc.integer({ min: 0, max: 3 }),
    after: fc.integer({ min: 0, max: 3 })
  }), { minLength: 3, maxLength: 9 }),
  partitions: fc.integer({ min: 1, max: 12 }),
  replicasBefore: fc.integer({ min: 1, max: 4 }),
  replicasAfter: fc.integer({ min: 1, max: 4 }),
  seed: fc.integer()
}).filter(({ nodes }) => nodes.some(({ before }) => before > 0) && nodes.some(({ after }) => after > 0))

function changeOf ({ nodes, partitions, replicasBefore, replicasAfter }: typeof anyChange extends fc.Arbitrary<infer T> ? T : never): { snapshot: PlanSnapshot, target: PlanTarget } {
  const weighed = (which: 'before' | 'after'): PlacementNode[] => nodes.map((node, at) => ({ id: `n${at}`, domain: node.domain, weight: node[which] }))
  const ids = Array.from({ length: partitions }, (_, at) => `p${at}`)
  const first = hawaii({ nodes: weighed('before'), partitions: ids.map((id) => ({ id, replicas: replicasBefore })) })
  const current = new Map(first.assignments.map(({ partition, replicas }) => [partition, replicas]))
  const second = hawaii({ nodes: weighed('after'), partitions: ids.map((id) => ({ id, replicas: replicasAfter, current: current.get(id)!, primary: current.get(id)![0]! })) })
  return {
    snapshot: {
      nodes: nodes.map(({ domain, after }, at) => ({ id: `n${at}`, domain, state: after === 0 ? 'leaving' : 'up' })),
      partitions: ids.map((id) => held(id, current.get(id)!))
    },
    target: { partitions: second.assignments.map(({ partition, replicas }) => ({ id: partition, replicas })) }
  }
}

describe('planner', () => {
  it('property: whatever the order in which things happen, no rule is broken on the way and the target is reached', () => {
    fc.assert(fc.property(anyChange, (change) => {
      const { snapshot, target } = changeOf(change)
      const random = new SimRandom(change.seed)
      const executor = new Executor(snapshot, target).remember()
      let nowMs = 0
      for (let turn = 0; executor.state.phase === 'running'; turn++) {
        expect(turn).to.be.lessThan(5000)
        executor.begin({ nowMs: nowMs += 1000, bytesPerSecond: 30, copiesPerNode: 2, copiesMax: 4, leadsMax: 2 })
        // Rarely enough that nothing is given up.
        executor.act(random, turn % 50 === 7, nowMs)
      }
      if (executor.state.givenUp.length === 0) executor.expectTarget()
    }), trials(150))
  })

  it('property: a plan made anew in the midst of another reaches its own target', () => {
    fc.assert(fc.property(anyChange, fc.integer({ min: 1, max: 40 }), (change, turns) => {
      const { snapshot, target } = changeOf(change)
      const random = new SimRandom(change.seed)
      const first = new Executor(snapshot, target).remember()
      for (let turn = 0; turn < turns; turn++) {
        first.begin({ ...unbounded, nowMs: turn * 1000, copiesMax: 3 })
        first.act(random, false, turn)
      }
      const back: PlanTarget = { partitions: snapshot.partitions.map(({ id, replicas }) => ({ id, replicas: replicas.map(({ node }) => node) })) }
      const midway: PlanSnapshot = {
        nodes: snapshot.nodes,
        partitions: snapshot.partitions.map((partition) => ({ ...partition, primary: first.live.get(partition.id)!.primary, replicas: [...first.live.get(partition.id)!.replicas].map(([node, serving]) => ({ node, serving })) }))
      }
      for (const wanted of [target, back]) {
        const second = new Executor(midway, wanted).remember()
        for (let turn = 0; second.state.phase === 'running'; turn++) {
          expect(turn).to.be.lessThan(5000)
          second.begin({ ...unbounded, nowMs: turn * 1000 })
          second.act(random, false, turn)
        }
        second.expectTarget()
      }
    }), trials(100))
  })

  it('the most endangered go first, then what shares a domain, then what evens out, then leads; each in turns over the nodes that are filled', () => {
    const snapshot: PlanSnapshot = {
      nodes: [up('a', 'r1'), up('b', 'r2'), up('c', 'r3'), up('d', 'r4'), up('e', 'r1'), { ...up('gone', 'r5'), state: 'gone' }, { ...up('old', 'r6'), state: 'leaving' }],
      partitions: [held('lead', ['a', 'b', 'c']), held('even1', ['a', 'b', 'c']), held('even2', ['a', 'b', 'c']), held('even3', ['a', 'b', 'c']), held('crowded', ['a', 'b', 'e']), held('drained', ['a', 'b', 'old']),
        held('lost1', ['a', 'b', 'gone']), held('lost2', ['a', 'gone', 'old'])]
    }
    const plan = planMoves(snapshot, targets({
      lead: ['b', 'a', 'c'], even1: ['a', 'b', 'd'], even2: ['a', 'b', 'd'], even3: ['a', 'c', 'd'], crowded: ['a', 'b', 'c'], drained: ['a', 'b', 'c'], lost1: ['a', 'b', 'c'], lost2: ['a', 'c', 'd'], unknown: ['a']
    }))
    expect(summary(plan)).to.deep.equal([
      'lost2 copy gone>c', 'lost2 copy old>d', 'lost1 copy gone>c', 'drained copy old>c', 'crowded copy e>c', 'even1 copy c>d', 'even2 copy c>d', 'even3 copy b>d', 'lead lead a>b'
    ])
    expect(plan.moves.map(({ urgency }) => urgency)).to.deep.equal([1.5, 1.5, 2, 2.5, urgencyOfDomains, urgencyOfBalance, urgencyOfBalance, urgencyOfBalance, urgencyOfLead])
    expect(plan.moves.map(({ after }) => after)).to.deep.equal([-1, 0, -1, -1, -1, -1, -1, -1, -1])
    expect(planMoves(snapshot, targets({ lead: [] })).moves).to.deep.equal([])
  })

  it('the lead is handed over between the copy and the drop', () => {
    const snapshot: PlanSnapshot = { nodes: ['a', 'b', 'c', 'd', 'e', 'f'].map((id) => up(id)), partitions: [held('p', ['a', 'b', 'c']), held('q', ['a', 'b', 'c']), held('r', ['a', 'b', 'c'])] }
    expect(summary(planMoves(snapshot, targets({ p: ['d', 'b', 'c'] })))).to.deep.equal(['p copy a>d lead d'])
    expect(summary(planMoves(snapshot, targets({ q: ['b', 'c', 'd'] })))).to.deep.equal(['q lead a>b', 'q copy a>d'])
    expect(summary(planMoves(snapshot, targets({ r: ['d', 'e', 'f'] })))).to.deep.equal(['r copy a>d lead d', 'r copy b>e', 'r copy c>f'])
  })

  it('a higher replica count adds, a lower one drops, never the lead', () => {
    const snapshot: PlanSnapshot = { nodes: ['a', 'b', 'c', 'd'].map((id) => up(id)), partitions: [held('p', ['a', 'b']), held('q', ['a', 'b', 'c'])] }
    expect(summary(planMoves(snapshot, targets({ p: ['a', 'b', 'c'], q: ['c', 'b'] })))).to.deep.equal(['p copy ->c', 'q lead a>c', 'q copy a>-'])
  })

  it('where there shall be more or fewer, no domain holds on the way what it held at neither end', () => {
    const nodes = [up('a1', 'a', 'r1'), up('a2', 'a', 'r1'), up('a3', 'a', 'r3'), up('b1', 'b', 'r3'), up('b2', 'b', 'r3'), up('c1', 'c', 'r1'), up('c2', 'c', 'r1'), up('c3', 'c', 'r3')]
    const ends: Array<[before: NodeId[], after: NodeId[]]> = [
      [['a1', 'c1', 'a3', 'c2'], ['a2', 'a1']],
      [['a1', 'a3', 'c1', 'c2'], ['b1', 'b2']],
      [['c1'], ['b1', 'c2', 'c3', 'b2']],
      [['c1'], ['c3', 'c2', 'b1', 'b2']]
    ]
    for (const [before, after] of ends) {
      const [snapshot, target] = [{ nodes, partitions: [held('p', before)] }, targets({ p: after })]
      const executor = new Executor(snapshot, target).remember()
      const random = new SimRandom(1)
      while (executor.state.phase === 'running') {
        executor.begin(unbounded)
        executor.act(random, false, 0)
      }
      executor.expectTarget()
    }
  })

  it('bytes a second, copies of a node and copies in all are bounded, and a busy node holds back only its own moves', () => {
    const nodes = ['a', 'b', 'c', 'd', 'e'].map((id) => up(id))
    const snapshot: PlanSnapshot = { nodes, partitions: Array.from({ length: 6 }, (_, at) => held(`p${at}`, [at < 3 ? 'a' : 'b'], { bytes: 100 })) }
    const plan = planMoves(snapshot, targets({ p0: ['c'], p1: ['c'], p2: ['d'], p3: ['d'], p4: ['e'], p5: ['e'] }))
    const names = (moves: number[]): string[] => moves.map((index) => `${plan.moves[index]!.from}>${plan.moves[index]!.to}`)
    const state = beginPlan(plan)
    expect(names(nextMoves(plan, state, { ...unbounded, copiesPerNode: 1 }))).to.deep.equal(['a>c', 'b>e'])
    expect(nextMoves(plan, state, { ...unbounded, copiesPerNode: 2 })).to.have.length(4)
    expect(nextMoves(plan, state, { ...unbounded, copiesMax: 3 })).to.have.length(3)
    expect(nextMoves(plan, state, { ...unbounded, mayBegin: ({ to }) => to === 'e' })).to.have.length(2)
    // Begun when the allowance is above zero: 150 a second allow two of 100, then half a second later none, 50 below zero.
    const slow = { ...unbounded, bytesPerSecond: 150 }
    const moves = nextMoves(plan, state, slow)
    expect(moves).to.have.length(2)
    const busy = stepPlan(plan, state, { kind: 'begun', moves, nowMs: 0, bytesPerSecond: 150 })
    expect(nextMoves(plan, busy, { ...slow, nowMs: 300 })).to.deep.equal([])
    expect(nextMoves(plan, busy, { ...slow, nowMs: 400 })).to.have.length(1)
    expect(nextMoves(plan, busy, { ...slow, nowMs: 1e6 })).to.have.length(2)
  })

  it('a paused plan begins nothing but finishes what has begun; an aborted one drops copies and finishes what is past them', () => {
    const snapshot: PlanSnapshot = { nodes: ['a', 'b', 'c'].map((id) => up(id)), partitions: [held('p', ['a']), held('q', ['a']), held('r', ['a'])] }
    const plan = planMoves(snapshot, targets({ p: ['b'], q: ['b'], r: ['c'] }))
    const after = (state: PlanState, ...events: PlanEvent[]): PlanState => events.reduce((last, event) => stepPlan(plan, last, event), state)
    const begun = after(beginPlan(plan), { kind: 'begun', moves: [0, 1], nowMs: 0, bytesPerSecond: null }, { kind: 'copied', move: 0 }, { kind: 'verified', move: 0 })
    expect(begun.active.map(({ stage }) => stage)).to.deep.equal(['lead', 'copy'])
    const paused = after(begun, { kind: 'pause' }, { kind: 'begun', moves: [2], nowMs: 0, bytesPerSecond: null })
    expect(nextMoves(plan, paused, unbounded)).to.deep.equal([])
    expect(after(paused, { kind: 'led', move: 0 }, { kind: 'dropped', move: 0 })).to.deep.include({ phase: 'paused', movesDone: 1, bytesDone: 10 })
    expect(nextMoves(plan, after(paused, { kind: 'resume' }), unbounded)).to.deep.equal([2])
    const aborting = after(begun, { kind: 'abort' })
    expect(aborting.active.map(({ stage }) => stage)).to.deep.equal(['lead', 'undo'])
    expect(nextMoves(plan, aborting, unbounded)).to.deep.equal([])
    // A copy that is finished too late is dropped all the same.
    const last = after(aborting, { kind: 'copied', move: 1 }, { kind: 'resume' }, { kind: 'dropped', move: 1 }, { kind: 'led', move: 0 })
    expect(last.phase).to.equal('aborting')
    expect(after(last, { kind: 'dropped', move: 0 })).to.deep.include({ phase: 'aborted', movesDone: 1, active: [] })
  })

  it('a move that fails waits and is tried again, and is given up in the end with those that follow it', () => {
    const snapshot: PlanSnapshot = { nodes: ['a', 'b', 'c', 'd'].map((id) => up(id)), partitions: [held('p', ['a', 'b']), held('q', ['a', 'b'])] }
    const plan = planMoves(snapshot, targets({ p: ['c', 'd'], q: ['a', 'd'] }))
    expect(plan.moves).to.have.length(3)
    const first = plan.moves.findIndex(({ partition }) => partition === 'p')
    let state = beginPlan(plan)
    let nowMs = 0
    for (let failure = 1; failure <= failuresMax; failure++) {
      const moves = nextMoves(plan, state, { ...unbounded, nowMs, mayBegin: ({ partition }) => partition === 'p' })
      expect(moves).to.deep.equal([first])
      state = stepPlan(plan, state, { kind: 'begun', moves, nowMs, bytesPerSecond: null })
      state = stepPlan(plan, state, { kind: 'failed', move: first, nowMs })
      expect(state.active).to.deep.equal([{ move: first, stage: 'undo' }])
      state = stepPlan(plan, state, { kind: 'dropped', move: first })
      expect(nextMoves(plan, state, { ...unbounded, nowMs: nowMs + retryDelayMs - 1, mayBegin: ({ partition }) => partition === 'p' })).to.deep.equal([])
      nowMs += retryDelayMs
    }
    expect(state.givenUp).to.have.length(2)
    expect(planProgress(plan, state)).to.deep.equal({ phase: 'running', moves: 3, movesDone: 0, movesActive: 0, movesGivenUp: 2, bytes: 30, bytesDone: 0 })
    expect(stepPlan(plan, state, { kind: 'vanished', partitions: ['q'] }).phase).to.equal('ended')
  })

  it('a plan with nothing to do has ended', () => {
    const snapshot: PlanSnapshot = { nodes: [up('a')], partitions: [held('p', ['a'])] }
    const plan = planMoves(snapshot, targets({ p: ['a'] }))
    expect(plan.moves).to.deep.equal([])
    expect(beginPlan(plan).phase).to.equal('ended')
  })
})
