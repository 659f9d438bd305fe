import { expect } from 'chai'
import { writeFileSync } from 'node:fs'
import type { PlanSummary, PlannedMove } from '../../fsnode/protocol/manager.ts'
import { canMount, copiesOf, copyLoop, isAlive, kill, managerLeader, Place, sh, start, until, type Running } from './harness.ts'

const preloadedMb = 160
const planLimitMs = 60_000
/** All that happens meanwhile may take as long. */
const copyLimitMs = 20 * 60_000

interface ListedNode { id: string, state: string, replicas: number, replicaShare: number, primaries: number, primaryShare: number, metadata: number, manager: boolean }

// One cluster lives through all of it, with a copy that goes on all the time.
describe('partitions that move while files are copied', function () {
  this.timeout(240_000)
  let place: Place
  let copy: Running

  before(async function () {
    if (!canMount()) this.skip()
    place = new Place()
    await place.up('--nodes', '5', '--replicas', '3')
    place.folder('source')
    await sh(`cd '${place.path('source')}'; for i in 1 2 3 4 5 6 7 8; do head -c 1500000 /dev/urandom > large-$i; head -c 3000 /dev/urandom > small-$i; done; head -c ${preloadedMb}M /dev/urandom > '${place.mount}/preloaded'`)
    copy = start(['sh', '-c', copyLoop(place)], { limitMs: copyLimitMs })
    await until('the copy is under way', () => copies() > 1)
  })
  after(async () => {
    if (place === undefined) return
    if (copy !== undefined) kill(copy.child.pid!, 'SIGKILL')
    await place.clean()
  })

  const copies = (): number => copiesOf(copy)

  async function json<T> (...words: string[]): Promise<T> {
    return JSON.parse((await place.well(...words, '--json', '--data', place.data)).stdout) as T
  }

  const plans = async (): Promise<PlanSummary[]> => (await json<{ plans: PlanSummary[] }>('partition', 'plans')).plans
  const nodes = async (): Promise<ListedNode[]> => await json<ListedNode[]>('node', 'list')

  async function newestPlan (after: number): Promise<PlanSummary> {
    let found: PlanSummary | undefined
    await until('a plan', async () => (found = (await plans()).find(({ id }) => id > after)) !== undefined)
    return found!
  }

  async function newest (): Promise<number> { return Math.max(0, ...(await plans()).map(({ id }) => id)) }

  /** The plans that were made have ended, and the copy goes on. */
  async function settles (): Promise<void> {
    await until('plans end', async () => (await plans()).every(({ phase }) => phase === 'ended' || phase === 'replaced'), planLimitMs)
    expect((await plans()).filter(({ movesGivenUp }) => movesGivenUp > 0)).to.deep.equal([])
    await goesOn()
  }

  async function goesOn (): Promise<void> {
    const before = copies()
    await until('the copy goes on', () => copies() > before || !isAlive(copy.child.pid!))
    if (!isAlive(copy.child.pid!)) throw new Error(`the copy has ended: ${copy.text().slice(-2000)}`)
  }

  /** Replicas within one of each node's share, or as near as rounding several placements leaves it. */
  async function isBalanced (): Promise<void> {
    for (const { id, state, replicas, replicaShare } of await nodes()) {
      if (state === 'up') expect(Math.abs(replicas - replicaShare), `${id}: ${replicas} of ${replicaShare}`).to.be.at.most(1)
    }
  }

  it('a node that is added gets its share', async () => {
    const known = await newest()
    await place.up('--nodes', '6')
    const plan = await newestPlan(known)
    expect(plan.why).to.include('node-6')
    await settles()
    await isBalanced()
    expect((await nodes()).find(({ id }) => id === 'node-6')!.replicas).to.be.greaterThan(0)
  })

  it('a node is emptied, of all that it holds', async () => {
    await place.well('node', 'drain', 'node-1', '--data', place.data)
    const drained = (await nodes()).find(({ id }) => id === 'node-1')!
    expect([drained.replicas, drained.primaries, drained.metadata, drained.manager]).to.deep.equal([0, 0, 0, false])
    await settles()
    await isBalanced()
  })

  it('kill -9 of the manager\'s leader, of a source and of a target in the midst of moves: the plan finishes', async () => {
    // So that there is a midst to be hit, however long the commands take that look for it.
    await place.well('partition', 'budget', '--copies-per-node', '1', '--bytes-per-second', '2MiB', '--data', place.data)
    const leader = await managerLeader(place)
    const known = await newest()
    await place.well('node', 'drain', 'node-1', '--cancel', '--data', place.data)
    const plan = await newestPlan(known)
    const killed: string[] = []
    const copying = async (): Promise<{ source: string, to: string }> => {
      let found: PlannedMove | undefined
      await until('a copy is under way', async () => {
        const { plan: { phase }, moves } = await json<{ plan: PlanSummary, moves: PlannedMove[] }>('partition', 'plan', String(plan.id))
        expect(phase, 'the plan is over before all were killed').to.equal('running')
        found = moves.find(({ move, stage }) => stage === 'copy' && move.kind === 'replica' && move.to !== null && move.source !== null)
        return found !== undefined
      })
      return found!.move as { source: string, to: string }
    }
    /** In the midst of a copy: whatever takes long is asked before. Nothing more begins while the node is away: else all would have moved by the time it is back. */
    const killNode = async (choose: (move: { source: string, to: string }) => string): Promise<void> => {
      const pids = new Map((await place.status()).nodes.map((node) => [node.id, node.pid!]))
      if (killed.length > 0) await place.well('partition', 'resume', String(plan.id), '--data', place.data)
      const id = choose(await copying())
      killed.push(id)
      kill(pids.get(id)!, 'SIGKILL')
      await place.well('partition', 'pause', String(plan.id), '--data', place.data)
      await until(`${id} is launched again`, async () => (await place.status()).nodes.some((node) => node.id === id && node.pid !== undefined && node.pid !== pids.get(id)))
      await place.untilHealthy()
    }
    await killNode(() => leader)
    await killNode(({ source }) => source)
    await killNode(({ to }) => to)
    await place.well('partition', 'resume', String(plan.id), '--data', place.data)
    await place.well('partition', 'budget', '--copies-per-node', '4', '--bytes-per-second', 'none', '--data', place.data)
    await settles()
    expect((await plans()).find(({ id }) => id === plan.id)!.phase).to.equal('ended')
    expect(killed.length).to.equal(3)
    await isBalanced()
  })

  it('the policy changes to Tivoli and back, each in one plan at most', async () => {
    for (const placement of ['tivoli', 'hawaii']) {
      const known = await newest()
      await place.well('volume', 'set', 'main', `placement=${placement}`, '--wait', '--data', place.data)
      // The manager plans anew every few seconds: two such turns without another plan.
      await until(`${placement} has settled`, async () => {
        const made = (await plans()).filter(({ id }) => id > known)
        return made.every(({ phase, endedMs }) => phase === 'ended' && endedMs !== null && Date.now() - endedMs > 6_000) && (made.length > 0 || await isOld(known))
      }, planLimitMs)
      expect((await plans()).filter(({ id }) => id > known).length, placement).to.be.at.most(1)
      await goesOn()
    }
    await isBalanced()
  })

  it('a node is gone for good: what it held is replaced from the others, and it can be forgotten', async () => {
    const lost = (await place.status()).nodes.find(({ id }) => id === 'node-3')!
    // Nobody launches it again.
    kill(place.clusterFile.scheduler.pid, 'SIGKILL')
    kill(lost.pid!, 'SIGKILL')
    await until('it is missed', async () => (await nodes()).find(({ id }) => id === 'node-3')!.state === 'down')
    await place.well('node', 'drain', 'node-3', '--data', place.data)
    await place.well('node', 'remove', 'node-3', '--data', place.data)
    await settles()
    expect((await nodes()).map(({ id }) => id)).to.deep.equal(['node-1', 'node-2', 'node-4', 'node-5', 'node-6'])
    await isBalanced()
    await until('all partitions are healthy', async () => {
      const { partitions: { healthy, total } } = await place.status()
      return healthy === total
    })
  })

  it('no copy saw an error, and all replicas are equal', async () => {
    writeFileSync(place.path('stop'), '')
    const { code, stderr } = await copy.outcome
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' })
    expect(copies()).to.be.greaterThan(5)
    const rows = await json<Array<{ chunks: number, damaged: number, differing: number, failures: unknown[] }>>('scrub', '--dry-run')
    expect(rows.reduce((chunks, row) => chunks + row.chunks, 0)).to.be.greaterThan(0)
    expect(rows.filter((row) => row.damaged + row.differing + row.failures.length > 0)).to.deep.equal([])
  })

  /** Whether no plan has come since that one, for long enough. */
  const switchedAt = new Map<number, number>()
  async function isOld (known: number): Promise<boolean> {
    const since = switchedAt.get(known) ?? performance.now()
    switchedAt.set(known, since)
    return performance.now() - since > 8_000
  }
})
