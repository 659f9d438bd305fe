import { expect } from 'chai'
import { nextRecord, type Fence, type PartitionRecord, type ReplicaFacts, type Restart } from '../../partitioning/replica-states.ts'
import type { NodeId, ReplicaState } from '../../partitioning/types.ts'
import { SimRandom } from '../sim/random.ts'

const record = (states: Record<string, ReplicaState>, primary: string | null, rest: Partial<PartitionRecord> = {}): PartitionRecord => ({
  partition: { id: '1.d.0', volume: 1, index: 0, epoch: 5, replicas: Object.entries(states).map(([node, state]) => ({ node, state })), primary },
  fences: [],
  doubtful: [],
  ...rest
})

interface Situation { down?: string[], restarted?: Record<string, Restart>, reported?: string[], synced?: string[], released?: string[], retired?: string[] }

const facts = (situation: Situation = {}, rest: Partial<ReplicaFacts> = {}): ReplicaFacts => ({
  version: 9,
  isUp: (node) => !(situation.down ?? []).includes(node),
  restartOf: (node) => situation.restarted?.[node],
  isReported: (node) => (situation.reported ?? []).includes(node),
  isSynced: (node) => (situation.synced ?? []).includes(node),
  isRetired: (node) => (situation.retired ?? []).includes(node),
  isReleased: ({ node }) => (situation.released ?? []).includes(node),
  maySync: () => false,
  secondariesRead: false,
  choosePrimary: (candidates) => candidates[0] ?? null,
  ...rest
})

/** 'a:serving* b:offline !a' : states, * for the primary, ! for fences, ? for doubts. */
const shown = ({ partition, fences, doubtful }: PartitionRecord): string => [
  ...partition.replicas.map(({ node, state }) => `${node}:${state}${partition.primary === node ? '*' : ''}`),
  ...fences.map(({ node, since }) => `!${node}@${since}`),
  ...doubtful.map((node) => `?${node}`)
].join(' ')

const three = (): PartitionRecord => record({ a: 'serving', b: 'serving', c: 'serving' }, 'a')

describe('replica states', () => {
  const table: Array<[string, PartitionRecord, ReplicaFacts, string]> = [
    ['a secondary goes down: it no longer counts', three(), facts({ down: ['c'] }), 'a:serving* b:serving c:offline'],
    ['the primary goes down: it is fenced, nobody leads yet', three(), facts({ down: ['a'] }), 'a:offline b:serving c:serving !a@9'],
    ['the fence holds while it is not released', record({ a: 'offline', b: 'serving' }, null, { fences: [{ node: 'a', since: 8 }] }), facts({ down: ['a'] }), 'a:offline b:serving !a@8'],
    ['the fence is released: a serving replica leads', record({ a: 'offline', b: 'serving' }, null, { fences: [{ node: 'a', since: 8 }] }), facts({ down: ['a'], released: ['a'] }), 'a:offline b:serving*'],
    ['all that serve go down at once: all are the last', three(), facts({ down: ['a', 'b', 'c'] }), 'a:last b:last c:last !a@9'],
    ['the last serving one goes down: stale replicas are not promoted', record({ a: 'serving', b: 'waiting', c: 'syncing' }, 'a'), facts({ down: ['a'] }), 'a:last b:waiting c:waiting !a@9'],
    ['a stale replica that comes back waits for the last one', record({ a: 'last', b: 'offline' }, null), facts({ down: ['a'] }), 'a:last b:waiting'],
    ['the last one comes back: it serves', record({ a: 'last', b: 'waiting' }, null), facts(), 'a:serving* b:waiting'],
    ['one of several last ones comes back: it serves, the others are stale', record({ a: 'last', b: 'last' }, null), facts({ down: ['b'] }), 'a:serving* b:offline'],
    ['a last one whose machine restarted waits for the others', record({ a: 'last', b: 'last' }, null), facts({ down: ['b'], restarted: { a: 'doubtful' } }), 'a:last b:last ?a'],
    ['and stays in doubt', record({ a: 'last', b: 'last' }, null, { doubtful: ['a'] }), facts({ down: ['b'] }), 'a:last b:last ?a'],
    ['one without doubt comes before it', record({ a: 'last', b: 'last' }, null, { doubtful: ['a'] }), facts(), 'a:waiting b:serving*'],
    ['all of them restarted: one serves, there is nothing better', record({ a: 'last', b: 'last' }, null, { doubtful: ['a'] }), facts({ restarted: { b: 'doubtful' } }), 'a:serving* b:waiting'],
    ['a last one that lost nothing serves at once', record({ a: 'last', b: 'last' }, null), facts({ down: ['b'], restarted: { a: 'intact' } }), 'a:serving* b:offline'],
    ['a restarted secondary is brought up again', three(), facts({ restarted: { b: 'intact' } }), 'a:serving* b:waiting c:serving'],
    ['a restarted primary is fenced and brought up again', three(), facts({ restarted: { a: 'intact' } }), 'a:waiting b:serving c:serving !a@9'],
    ['the only replica restarts: it goes on in a new epoch', record({ a: 'serving' }, 'a'), facts({ restarted: { a: 'doubtful' } }), 'a:serving*'],
    ['a reported secondary no longer counts', three(), facts({ reported: ['b'] }), 'a:serving* b:waiting c:serving'],
    ['a report by a primary that goes down itself is void', record({ a: 'serving', b: 'serving' }, 'a'), facts({ down: ['a'], reported: ['b'] }), 'a:offline b:serving !a@9'],
    ['where secondaries read, a reported one is fenced and the primary pauses', three(), facts({ reported: ['b'] }, { secondariesRead: true }), 'a:serving b:waiting c:serving !b@9 !a@9'],
    ['and the same primary goes on when the reader is released', record({ a: 'serving', b: 'waiting' }, null, { fences: [{ node: 'b', since: 8 }, { node: 'a', since: 8 }] }), facts({ released: ['b'] }, { secondariesRead: true }), 'a:serving* b:waiting'],
    ['a reported syncing replica waits', record({ a: 'serving', b: 'syncing' }, 'a'), facts({ reported: ['b'] }), 'a:serving* b:waiting'],
    ['a waiting replica starts to sync within the bounds', record({ a: 'serving', b: 'waiting', c: 'waiting' }, 'a'), facts({}, { maySync: (node) => node === 'c' }), 'a:serving* b:waiting c:syncing'],
    ['nothing syncs without a primary', record({ a: 'last', b: 'waiting' }, null), facts({ down: ['a'] }, { maySync: () => true }), 'a:last b:waiting'],
    ['a synced replica serves', record({ a: 'serving', b: 'syncing' }, 'a'), facts({ synced: ['b'] }), 'a:serving* b:serving'],
    ['one that never synced cannot claim it', record({ a: 'serving', b: 'waiting' }, 'a'), facts({ synced: ['b'] }), 'a:serving* b:waiting'],
    ['the lead moves: the old primary is fenced first', three(), facts({}, { moveLead: true }), 'a:serving b:serving c:serving !a@9'],
    ['a retired secondary is dropped', three(), facts({ retired: ['c'] }), 'a:serving* b:serving'],
    ['a retired reader is fenced', three(), facts({ retired: ['c'] }, { secondariesRead: true }), 'a:serving b:serving !c@9 !a@9'],
    ['neither the primary nor the last one is dropped', record({ a: 'serving' }, 'a'), facts({ retired: ['a'] }), 'a:serving*'],
    ['a new replica waits', record({ a: 'serving' }, 'a'), facts({}, { added: ['b', 'a'] }), 'a:serving* b:waiting'],
    ['nothing happens: nothing changes', three(), facts(), 'a:serving* b:serving c:serving']
  ]
  for (const [rule, before, given, after] of table) {
    it(rule, () => {
      const next = nextRecord(before, given)
      expect(shown(next)).to.equal(after)
      const changed = next.partition !== before.partition
      expect(next.partition.epoch).to.equal(before.partition.epoch + (changed ? 1 : 0))
      if (!changed && shown(before) === after) expect(next).to.equal(before)
    })
  }

  it('counts how often writes that no fsync covered may be lost, and raises the epoch with it', () => {
    const losses = (before: PartitionRecord, given: ReplicaFacts): number => {
      const { partition } = nextRecord(before, given)
      if (partition.losses !== before.partition.losses) expect(partition.epoch).to.equal(before.partition.epoch + 1)
      return partition.losses ?? 0
    }
    expect(losses(record({ a: 'last', b: 'last' }, null, { doubtful: ['a'] }), facts({ restarted: { b: 'doubtful' } }))).to.equal(1)
    expect(losses(record({ a: 'serving', b: 'waiting' }, 'a'), facts({ restarted: { a: 'doubtful' } }))).to.equal(1)
    expect(losses(record({ a: 'serving' }, null, { fences: [{ node: 'a', since: 8 }] }), facts({ restarted: { a: 'doubtful' } }))).to.equal(1)
    expect(losses(record({ a: 'serving', b: 'serving' }, 'a'), facts({ restarted: { a: 'doubtful' } }))).to.equal(0)
    expect(losses(record({ a: 'last', b: 'last' }, null, { doubtful: ['a'] }), facts())).to.equal(0)
    expect(losses(record({ a: 'serving' }, 'a'), facts({ restarted: { a: 'intact' } }))).to.equal(0)
    const again = nextRecord(record({ a: 'serving' }, 'a'), facts({ restarted: { a: 'doubtful' } }))
    expect(losses(again, facts({ restarted: { a: 'doubtful' } }))).to.equal(2)
    expect(losses(again, facts({ down: ['a'] }))).to.equal(1)
  })

  for (const secondariesRead of [false, true]) {
    it(`random: nothing acknowledged is lost, one node leads, reads are current (${secondariesRead ? 'Tivoli' : 'Hawaii'})`, () => {
      const totals = { acknowledged: 0, leads: 0 }
      for (let seed = 1; seed <= 150; seed++) {
        const model = new Model(seed, secondariesRead)
        for (let step = 0; step < 250; step++) model.step()
        model.heal()
        totals.acknowledged += model.count
        totals.leads += model.leads
      }
      expect(totals.acknowledged).to.be.greaterThan(1000)
      expect(totals.leads).to.be.greaterThan(1000)
    })
  }
})

interface ModelNode {
  id: NodeId
  alive: boolean
  /** By the manager. */
  up: boolean
  leased: boolean
  /** Version of the map it has adopted. */
  known: number
  /** Version with which its lease was granted: of no use before the node knows that map. */
  granted: number
  writes: Set<number>
  /** Of `writes`, those on stable storage. */
  stable: Set<number>
}

/** One partition, its nodes' leases and knowledge, and what they have written. Faults come at random. */
class Model {
  private readonly random: SimRandom
  private readonly secondariesRead: boolean
  private readonly nodes: ModelNode[]
  private readonly history = new Map<number, PartitionRecord>()
  private current: PartitionRecord
  private version = 1
  private nextWrite = 1
  readonly acknowledged = new Set<number>()
  /** Of those, the ones an fsync covered. */
  private readonly durable = new Set<number>()
  leads = 0
  count = 0

  constructor (seed: number, secondariesRead: boolean) {
    this.random = new SimRandom(seed)
    this.secondariesRead = secondariesRead
    this.nodes = ['a', 'b', 'c'].slice(0, 1 + this.random.below(3)).map((id) =>
      ({ id, alive: true, up: true, leased: true, known: 1, granted: 1, writes: new Set(), stable: new Set() }))
    this.current = record(Object.fromEntries(this.nodes.map(({ id }) => [id, 'serving' as const])), 'a')
    this.history.set(1, this.current)
  }

  step (): void {
    const node = this.random.pick(this.nodes)
    // Mostly all is well for a while; then several things go wrong in any order.
    if (this.random.chance(0.3)) {
      for (const each of this.nodes) {
        this.heartbeat(each)
        this.learn(each)
      }
    }
    const choices: Array<() => void> = [
      () => { node.alive = false; node.leased = false },
      () => { node.leased = false },
      () => { this.restart(node) },
      () => { node.up = false; this.decide({}) },
      () => {
        for (const each of this.nodes) each.up = false
        this.decide({})
      },
      () => { if (node.alive) { node.up = true; this.decide({}) } },
      () => { this.heartbeat(node) }, () => { this.heartbeat(node) },
      () => { this.learn(node) }, () => { this.learn(node) }, () => { this.learn(node) },
      () => { this.report(node) },
      () => { this.synced(node) }, () => { this.synced(node) },
      () => { this.decide({}) }, () => { this.decide({}) },
      () => { this.decide({ moveLead: this.current.partition.primary !== null }) },
      () => { this.write() }, () => { this.write() }, () => { this.write() }, () => { this.write() },
      () => { this.sync() }
    ]
    this.random.pick(choices)()
    this.check()
  }

  /** Faults end: everything must serve again, with every acknowledged write. */
  heal (): void {
    for (const node of this.nodes) {
      if (!node.alive) this.restart(node)
      node.up = true
    }
    for (let round = 0; round < 12; round++) {
      this.decide({})
      for (const node of this.nodes) {
        this.learn(node)
        this.heartbeat(node)
        this.synced(node)
      }
      this.check()
    }
    expect(shown(this.current)).to.match(/\*/)
    for (const { state } of this.current.partition.replicas) expect(state).to.equal('serving')
  }

  private heartbeat (node: ModelNode): void {
    if (!node.alive) return
    // The manager answers with its version; a lease counts from when the node knows that map.
    node.leased = true
    node.granted = this.version
  }

  private learn (node: ModelNode): void { if (node.alive) node.known = this.version }

  private restart (node: ModelNode): void {
    const lost = this.random.chance(0.4)
    if (lost) node.writes = new Set(node.stable)
    Object.assign(node, { alive: true, leased: false, up: true })
    this.decide({ restartOf: (id) => id === node.id ? (lost ? 'doubtful' : 'intact') : undefined })
    node.known = this.version
  }

  private report (node: ModelNode): void {
    const leader = this.nodes.find((candidate) => this.leads_(candidate))
    if (leader === undefined || leader === node || this.seen(leader).partition.epoch !== this.current.partition.epoch) return
    this.decide({ isReported: (id) => id === node.id })
  }

  private synced (node: ModelNode): void {
    const leader = this.nodes.find((candidate) => this.leads_(candidate))
    const { partition } = this.current
    const syncs = partition.replicas.some((replica) => replica.node === node.id && replica.state === 'syncing')
    if (!node.alive || leader === undefined || !syncs) return
    if (this.seen(node).partition.epoch !== partition.epoch || this.seen(leader).partition.epoch !== partition.epoch) return
    // A replica has what it copied on stable storage before it says so.
    node.writes = new Set(leader.writes)
    node.stable = new Set(leader.writes)
    this.decide({ isSynced: (id) => id === node.id })
  }

  /** By whoever believes to lead, acknowledged when all replicas of its epoch took it. */
  private write (): void {
    for (const leader of this.nodes.filter((candidate) => this.leads_(candidate))) {
      const { partition } = this.seen(leader)
      const write = this.nextWrite++
      const takers = partition.replicas.filter(({ state }) => state === 'serving' || state === 'syncing').map(({ node }) => this.node(node))
      const took = takers.filter((node) => node.alive && this.seen(node).partition.epoch === partition.epoch)
      for (const node of took) node.writes.add(write)
      if (took.length < takers.length) continue
      this.acknowledged.add(write)
      this.count++
    }
  }

  /** fsync: what is acknowledged goes to stable storage of all replicas of the leader's epoch. */
  private sync (): void {
    for (const leader of this.nodes.filter((candidate) => this.leads_(candidate))) {
      const { partition } = this.seen(leader)
      const takers = partition.replicas.filter(({ state }) => state === 'serving' || state === 'syncing').map(({ node }) => this.node(node))
      const took = takers.filter((node) => node.alive && this.seen(node).partition.epoch === partition.epoch)
      for (const node of took) node.stable = new Set(node.writes)
      if (took.length === takers.length) for (const write of this.acknowledged) this.durable.add(write)
    }
  }

  private decide (extra: Partial<ReplicaFacts>): void {
    const version = this.version + 1
    const next = nextRecord(this.current, facts({}, {
      version,
      isUp: (id) => this.node(id).up,
      isReleased: (fence) => this.released(fence),
      maySync: () => this.random.chance(0.7),
      secondariesRead: this.secondariesRead,
      choosePrimary: (candidates) => this.random.pick(candidates),
      ...extra
    }))
    if (next === this.current) return
    this.checkStep(this.current, next)
    this.forgive(this.current, next, extra)
    this.current = next
    this.version = version
    this.history.set(version, next)
  }

  /** Only when the machines of all in-sync replicas restarted may writes be gone, and only those no fsync covered. */
  private forgive (before: PartitionRecord, next: PartitionRecord, { restartOf }: Partial<ReplicaFacts>): void {
    const inSync = before.partition.replicas.filter(({ state }) => state === 'serving' || state === 'last').map(({ node }) => node)
    const serving = next.partition.replicas.find(({ state }) => state === 'serving')
    if (serving === undefined || !inSync.every((id) => before.doubtful.includes(id) || restartOf?.(id) === 'doubtful')) return
    const gone = [...this.acknowledged].filter((write) => !this.node(serving.node).writes.has(write) && !this.durable.has(write))
    if (gone.length > 0) expect(next.partition.losses ?? 0, 'losses told').to.equal((before.partition.losses ?? 0) + 1)
    for (const write of gone) this.acknowledged.delete(write)
  }

  private released ({ node: id, since }: Fence): boolean {
    const node = this.node(id)
    return !node.leased || node.known >= since
  }

  private checkStep (before: PartitionRecord, next: PartitionRecord): void {
    const stateOf = (one: PartitionRecord, id: NodeId | null): ReplicaState | undefined => one.partition.replicas.find(({ node }) => node === id)?.state
    const moved = next.partition !== before.partition
    expect(next.partition.epoch).to.equal(before.partition.epoch + (moved ? 1 : 0))
    const { primary } = next.partition
    if (primary !== null) expect(stateOf(next, primary)).to.equal('serving')
    if (primary !== null && primary !== before.partition.primary) {
      this.leads++
      expect(stateOf(before, primary)).to.be.oneOf(['serving', 'last'])
      expect(before.partition.primary).to.equal(null)
    }
    const states = next.partition.replicas.map(({ state }) => state)
    expect(states.includes('serving') || states.includes('last')).to.equal(true)
    if (states.includes('last')) expect(states).to.not.include.members(['serving'])
  }

  private check (): void {
    expect(this.nodes.filter((node) => this.leads_(node)).length, 'nodes that lead').to.be.at.most(1)
    for (const node of this.nodes) {
      if (!this.reads(node)) continue
      for (const write of this.acknowledged) expect(node.writes.has(write), `write ${write} on ${node.id}: ${shown(this.current)}`).to.equal(true)
    }
  }

  private leads_ (node: ModelNode): boolean {
    return this.acts(node) && this.seen(node).partition.primary === node.id
  }

  private reads (node: ModelNode): boolean {
    if (!this.acts(node)) return false
    const serves = this.seen(node).partition.replicas.some((replica) => replica.node === node.id && replica.state === 'serving')
    return this.leads_(node) || (this.secondariesRead && serves)
  }

  private acts (node: ModelNode): boolean { return node.alive && node.leased && node.known >= node.granted }

  /** The partition as the node knows it: the last change up to its version. */
  private seen (node: ModelNode): PartitionRecord {
    for (let version = node.known; version > 0; version--) {
      const found = this.history.get(version)
      if (found !== undefined) return found
    }
    return this.current
  }

  private node (id: NodeId): ModelNode { return this.nodes.find((node) => node.id === id)! }
}
