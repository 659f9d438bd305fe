import { expect } from 'chai'
import { readFileSync } from 'node:fs'
import type { GroupReport } from '../../cli/commands/partition-explain-group.ts'
import type { MapBackup, PlanSummary, PlannedMove } from '../../fsnode/protocol/manager.ts'
import type { PlanEstimate } from '../../partitioning/planner-estimate.ts'
import type { Move } from '../../partitioning/planner-types.ts'
import { canMount, Place, sh, until } from './harness.ts'

const writtenMb = 24

interface Row { id: string, kind: 'data' | 'metadata', state: string, primary: string | null, replicas: string[], bytes: number | null }
interface TopRow { partition: string, volume: string, readBytes: number, writeBytes: number, writes: number, bytes: number | null }
interface DryRun extends PlanEstimate { plan: null, moves: Move[] }

// One cluster lives through all of it.
describe('an operator looks at partitions and moves them', function () {
  this.timeout(120_000)
  let place: Place

  before(async function () {
    if (!canMount()) this.skip()
    place = new Place()
    await place.up('--nodes', '4', '--replicas', '2')
  })
  after(async () => { await place?.clean() })

  async function json<T> (...words: string[]): Promise<T> {
    return JSON.parse((await place.well(...words, '--json', '--data', place.data)).stdout) as T
  }
  const text = async (...words: string[]): Promise<string> => (await place.well(...words, '--data', place.data)).stdout
  const rows = (kind: Row['kind']): Promise<Row[]> => json('partition', 'list', '--kind', kind)
  const nodesOf = ({ replicas }: Row): string[] => replicas.map((replica) => replica.split(':')[0]!)
  /** Once no lead moves any more: each partition's first replica leads. */
  async function where (): Promise<string[][]> {
    let listed: Row[] = []
    await until('leads are at rest', async () => (listed = await rows('data')).every((row) => row.primary === nodesOf(row)[0]))
    return listed.map((row) => [row.id, row.primary!, ...nodesOf(row).sort()])
  }

  it('top shows what is written where, the busiest first', async () => {
    await sh(`head -c ${writtenMb}M /dev/urandom > '${place.mount}/file'; sync -f '${place.mount}/file'`)
    let busiest: TopRow[] = []
    await until('a load', async () => (busiest = await json<TopRow[]>('partition', 'top', '--rows', '4', '--volume', 'main')).some(({ writeBytes }) => writeBytes > 0))
    expect(busiest.length).to.equal(4)
    const rates = busiest.map(({ readBytes, writeBytes }) => readBytes + writeBytes)
    expect(rates).to.deep.equal([...rates].sort((one, other) => other - one))
    expect(busiest[0]).to.include({ volume: 'main' })
    expect(busiest[0]!.writes).to.be.greaterThan(0)
    await until('bytes are told', async () => (await json<TopRow[]>('partition', 'top', '--rows', '100')).reduce((sum, { bytes }) => sum + (bytes ?? 0), 0) >= writtenMb * 2 ** 20)
    const shown = await text('partition', 'top', '--once', '--rows', '2')
    expect(shown).to.match(/^read .*\/s, written .*\/s by the partitions shown\nPARTITION +VOLUME +PRIMARY +READ +WRITTEN +READS\/S +WRITES\/S +BYTES/)
    expect(shown.trimEnd().split('\n').length).to.equal(4)
  })

  it('explain tells of a metadata partition, and of the manager, who leads, who else is a member and why the others are not', async () => {
    for (const id of ['1.m.0', '1.m.1', 'manager']) {
      const report = await json<GroupReport>('partition', 'explain', id)
      expect(report).to.include({ partition: id, kind: id === 'manager' ? 'manager' : 'metadata', volume: id === 'manager' ? null : 'main' })
      expect(report.members).to.include(report.leader)
      expect(report.nodes.map(({ role }) => role)).to.deep.equal(['leader', 'member', 'member', 'none'])
      expect(report.nodes[0]!.node).to.equal(report.leader)
      expect(report.nodes[0]!.why).to.match(/^(is in|shares no domain)/)
      expect(report.nodes[3]!.why).to.match(/^(takes|could take) the place of node-/)
    }
    const shown = await text('partition', 'explain', '1.m.0')
    expect(shown).to.match(/^metadata partition 1\.m\.0 of volume main: a Raft group of 3, led by node-\d in term \d+\nmembers: node-/)
    expect(shown).to.match(/\nNODE +ROLE +DOMAIN +SHARED +GROUPS +SHARE +WHY *\nnode-\d +leader /)
    const unknown = await place.atoll('partition', 'explain', '1.m.9', '--data', place.data)
    expect([unknown.code, unknown.stderr.split('\n')[0]]).to.deep.equal([1, 'atoll: ATOLL_NO_SUCH_PARTITION: there is no partition 1.m.9'])
  })

  it('move brings one replica to another node, and no other', async () => {
    await place.well('partition', 'budget', '--automatic', 'off', '--data', place.data)
    const others = (await where()).slice(1)
    const [before] = await rows('data')
    const [from, to] = [nodesOf(before!).find((node) => node !== before!.primary)!, place.clusterFile.nodes.map(({ id }) => id).find((id) => !nodesOf(before!).includes(id))!]
    const plan = await json<PlanSummary>('partition', 'move', before!.id, '--from', from, '--to', to, '--wait')
    expect(plan).to.include({ kind: 'move', phase: 'ended', moves: 1, movesDone: 1, movesGivenUp: 0, why: `${before!.id} from ${from} to ${to}` })
    const [after, ...rest] = await where()
    expect(after).to.deep.equal([before!.id, before!.primary, ...nodesOf(before!).map((node) => node === from ? to : node).sort()])
    expect(rest).to.deep.equal(others)
    const again = await place.atoll('partition', 'move', before!.id, '--from', from, '--to', to, '--data', place.data)
    expect([again.code, again.stderr]).to.satisfy(([code, stderr]: [number, string]) => code === 2 && stderr.startsWith('atoll: ATOLL_BAD_ARGUMENT'))
  })

  it('rebalance --dry-run tells the moves, bytes, time and risk, and moves nothing; rebalance makes exactly these moves', async () => {
    const before = await where()
    const dry = await json<DryRun>('partition', 'rebalance', '--dry-run')
    const copies = dry.moves.flatMap((move) => move.kind === 'replica' ? [move] : [])
    expect(copies.length).to.be.greaterThan(0)
    expect(dry).to.include({ plan: null, replicaMoves: copies.length, leadMoves: dry.moves.length - copies.length, bytes: copies.reduce((sum, { bytes }) => sum + bytes, 0), endangered: 0 })
    expect(dry.seconds).to.be.greaterThan(0)
    const shown = await text('partition', 'rebalance', '--dry-run')
    expect(shown).to.match(/^PARTITION +FROM +TO +LEAD +BYTES +STATE *\n/)
    expect(shown).to.match(new RegExp(`\n${copies.length} replicas and ${dry.leadMoves} leads: .*, about \\d+ s.*\nrisk: none; `))
    expect(await where()).to.deep.equal(before)
    const plan = await json<PlanSummary>('partition', 'rebalance', '--wait')
    expect(plan).to.include({ kind: 'rebalance', phase: 'ended', moves: dry.moves.length, movesDone: dry.moves.length })
    const { moves } = await json<{ moves: PlannedMove[] }>('partition', 'plan', String(plan.id))
    expect(moves.map(({ move }) => move)).to.deep.equal(dry.moves)
    expect(await where()).to.deep.equal(before.map((line) => afterMoves(line, dry.moves)))
    expect(await text('partition', 'rebalance', '--dry-run')).to.equal('all is even: nothing would move\n')
  })

  it('volume set --wait: when it returns the replicas are there, or it is said that nobody moves them', async () => {
    const counts = async (): Promise<number[]> => [...new Set((await rows('data')).map(({ replicas }) => replicas.filter((replica) => replica.endsWith(':serving')).length))]
    expect(await counts()).to.deep.equal([2])
    // Balancing by itself is off: what is lacking is copied all the same, what is too many stays.
    await place.well('volume', 'set', 'main', 'replicas=3', '--wait', '--data', place.data)
    expect(await counts()).to.deep.equal([3])
    const refused = await place.atoll('volume', 'set', 'main', 'replicas=2', '--wait', '--data', place.data)
    expect([refused.code, refused.stderr]).to.satisfy(([code, stderr]: [number, string]) => code === 1 && stderr.includes('atoll: ATOLL_PLAN_NOT_DONE'))
    await place.well('partition', 'budget', '--automatic', 'on', '--data', place.data)
    expect(await text('volume', 'set', 'main', 'replicas=2', '--wait')).to.equal('volume main: hawaii, 2 replicas\n')
    expect(await counts()).to.deep.equal([2])
  })

  it('cancel without a number says that the cluster does not balance by itself any more, and resume that it does; so does the help', async () => {
    expect(await text('partition', 'cancel')).to.match(/^balancing by itself: off; (.*\n)*\nnodes do not fill up and volumes do not even out by themselves until: atoll partition resume --data .+\n$/)
    expect(await text('partition', 'resume')).to.match(/^balancing by itself: on; /).and.to.not.include('until:')
    for (const verb of ['pause', 'cancel']) {
      const help = (await place.well('partition', verb, '--help')).stdout.replaceAll(/\s+/g, ' ')
      expect(help).to.include('without a number: all plans').and.to.include('balancing by itself is off, but for what is endangered, until: atoll partition resume')
    }
  })

  it('backup writes the map; a restore is refused unless it is confirmed, and while the cluster knows the volume', async () => {
    const file = place.path('map.json')
    const listed = await where()
    const counts = await json<Record<string, number>>('partition', 'backup', file)
    const { map } = JSON.parse(readFileSync(file, 'utf8')) as MapBackup
    expect(counts).to.include({ version: map.version, volumes: 1, nodes: 4, dataPartitions: (await rows('data')).length, metadataPartitions: (await rows('metadata')).length })
    expect(map.data.map(({ id, primary, replicas }) => [id, primary, ...replicas.map(({ node }) => node).sort()])).to.have.deep.members(listed)
    const refusals: Array<[string[], number, string]> = [
      [[file], 2, 'ATOLL_USAGE: a restore must be confirmed'],
      [[file, '--dry-run'], 1, 'ATOLL_VOLUME_EXISTS'],
      [[file, '--yes'], 1, 'ATOLL_VOLUME_EXISTS'],
      [[place.path('missing'), '--dry-run'], 1, 'ATOLL_BACKUP_UNREADABLE']
    ]
    for (const [words, code, what] of refusals) {
      const outcome = await place.atoll('partition', 'restore', ...words, '--data', place.data)
      expect([outcome.code, outcome.stderr.split('\n')[0]], words.join(' ')).to.satisfy(([is, line]: [number, string]) => is === code && line.startsWith(`atoll: ${what}`))
    }
  })
})

/** Where a partition is when these moves are done: id, primary, then its nodes. */
function afterMoves ([id, primary, ...nodes]: string[], moves: readonly Move[]): string[] {
  let [lead, held] = [primary!, nodes]
  for (const move of moves.filter(({ partition }) => partition === id)) {
    if (move.kind === 'lead') lead = move.to
    else {
      held = [...held.filter((node) => node !== move.from), ...move.to === null ? [] : [move.to]]
      lead = move.lead ?? lead
    }
  }
  return [id!, lead, ...held.sort()]
}
