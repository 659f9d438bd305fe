import { setTimeout as delay } from 'node:timers/promises'
import { InvalidArgumentError, Option, type Command } from 'commander'
import type { Cluster } from '../../client/connect.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { BalanceSettings, PlannedMove, PlansResponse, PlanSummary } from '../../fsnode/protocol/manager.ts'
import { systemRandom } from '../../fsnode/protocol/system.ts'
import type { Move } from '../../partitioning/planner-types.ts'
import type { MembersChange } from '../../partitioning/types.ts'
import { clusterOptionText, withCluster, withClusterOptions, type ClusterOptions } from '../find-cluster.ts'
import { formatBytes, print, printJson, printTable, startProgress } from '../output.ts'
import { isOver, requireDone, summaryLine } from '../plan-summary.ts'
import { formatSeconds, planCost } from '../plan-time.ts'
import { byteSize, wholeNumber } from './volume.ts'

interface Json { json?: boolean }
interface Wait { wait?: boolean }
type MoveOptions = ClusterOptions & Json & Wait & { from: string, to: string }
type RebalanceOptions = ClusterOptions & Json & Wait & { dryRun?: boolean, volume?: string }

const pollMs = 500

const balancingStops = 'balancing by itself is off, but for what is endangered, until: atoll partition resume (or: budget --automatic on)'

function balancingIsOff (options: ClusterOptions): string {
  return `nodes do not fill up and volumes do not even out by themselves until: atoll partition resume${clusterOptionText(options)}`
}

export function planCommands (partition: Command): void {
  withClusterOptions(partition.command('move <id>'))
    .description('move one replica of a data partition, or one member of a metadata partition or of the manager, to another node, while it serves')
    .requiredOption('--from <node>', 'that has a replica')
    .requiredOption('--to <node>', 'that has none')
    .option('--wait', 'until it is done')
    .option('--json', 'for programs')
    .action(move)
  withClusterOptions(partition.command('rebalance'))
    .description('spread replicas and leads as evenly as the policies want')
    .option('--dry-run', 'only say what would move')
    .option('--volume <name>', 'only this volume')
    .option('--wait', 'until it is done')
    .option('--json', 'for programs')
    .action(rebalance)
  withClusterOptions(partition.command('plans'))
    .description('plans of moves, the newest first, and their budget')
    .option('--json', 'for programs')
    .action(async (options: ClusterOptions & Json) => {
      showPlans((await withCluster(options, ({ router }) => router.toManager('manager.plans', {}))).body, options)
    })
  withClusterOptions(partition.command('plan <number>'))
    .description('one plan, move by move')
    .option('--json', 'for programs')
    .action(showPlan)
  for (const [action, what] of [
    ['pause', `what has begun is finished, nothing else begins; without a number: all plans, and ${balancingStops}`],
    ['resume', 'goes on; without a number: all plans. In both cases nodes fill up and volumes even out by themselves again'],
    ['cancel', `unfinished copies are dropped, what is done stays; without a number: all plans. Then, and with the number of a plan that is no "move", ${balancingStops}`]
  ] as const) {
    withClusterOptions(partition.command(`${action} [plan]`))
      .description(what)
      .option('--json', 'for programs')
      .action(async (plan: string | undefined, options: ClusterOptions & Json) => {
        const request = { action, ...(plan !== undefined && { plan: planNumber(plan) }) }
        const { body } = await withCluster(options, ({ router }) => router.toManager('manager.control-plan', request))
        showPlans(body, options)
        if (options.json !== true && action !== 'resume' && !body.settings.automatic) print(`\n${balancingIsOff(options)}`)
      })
  }
  withClusterOptions(partition.command('budget'))
    .description('how much moves may cost; without options: what is set')
    .option('--bytes-per-second <size>', 'copies that are begun, on average: such as 50MiB, or none', rate)
    .option('--copies-per-node <n>', 'at once, from a node and to a node', wholeNumber)
    .addOption(new Option('--automatic <switch>', 'whether nodes fill up and volumes even out by themselves').choices(['on', 'off']))
    .option('--json', 'for programs')
    .action(budget)
}

async function move (id: string, options: MoveOptions): Promise<void> {
  const { from, to } = options
  await withCluster(options, async (cluster) => {
    const { body: { plan } } = await cluster.router.toManager('manager.move-partition', { partition: id, from, to, token: newToken() })
    if (plan !== null) await follow(cluster, plan, options)
    else await followMembers(cluster, id, options)
  })
}

async function rebalance (options: RebalanceOptions): Promise<void> {
  await withCluster(options, async (cluster) => {
    const { dryRun, volume } = options
    const { body } = await cluster.router.toManager('manager.rebalance', { dryRun: dryRun === true, volume, token: newToken() })
    const { settings } = (await cluster.router.toManager('manager.plans', {})).body
    const cost = planCost(body.moves, cluster.map.nodes, settings)
    if (body.plan !== null) await follow(cluster, body.plan, options)
    else if (options.json === true) printJson({ plan: null, moves: body.moves, ...cost })
    else if (body.moves.length === 0) print('all is even: nothing would move')
    else {
      showMoves(body.moves.map((one) => ({ move: one, stage: 'waiting' })))
      print()
      print(`${cost.replicaMoves} replicas and ${cost.leadMoves} leads: ${formatBytes(cost.bytes)}, about ${formatSeconds(cost.seconds)}${cost.slowest === null ? '' : `, of which ${cost.slowest} is the last`}`)
      print(cost.endangered === 0
        ? 'risk: none; each replica serves elsewhere, verified, before the old one goes'
        : `risk: ${cost.endangered} partitions lack safe replicas until their moves are done, the worst has ${cost.safeReplicasMin}; no other has fewer than now at any time`)
    }
  })
}

/** Ends with an error when the plan was not carried out. */
async function follow (cluster: Cluster, begun: PlanSummary, options: Json & Wait): Promise<void> {
  const plan = options.wait === true ? await untilOver(cluster, begun, options.json === true) : begun
  if (options.json === true) printJson(plan)
  else print(options.wait === true ? summaryLine(plan) : `${summaryLine(plan)}; watch it: atoll partition plan ${plan.id}`)
  if (options.wait === true) requireDone(plan)
}

async function followMembers (cluster: Cluster, id: string, options: ClusterOptions & Json & Wait): Promise<void> {
  const find = async (): Promise<{ members: string[], change?: MembersChange }> => {
    const { body: { map } } = await cluster.router.toManager('manager.map', { after: 0, waitMs: 0 })
    return map!.metadata.find((one) => one.id === id) ?? { members: map!.managers, change: map!.managersChange }
  }
  let now = await find()
  while (options.wait === true && now.change !== undefined) {
    await delay(pollMs)
    now = await find()
  }
  if (options.json === true) printJson({ id, ...now })
  else print(now.change === undefined ? `${id} is on ${now.members.join(', ')}` : `${id} goes from ${now.members.join(', ')} to ${now.change.target.join(', ')}; watch it: atoll partition show ${id}`)
}

async function untilOver (cluster: Cluster, begun: PlanSummary, quiet: boolean): Promise<PlanSummary> {
  const progress = startProgress(quiet)
  for (let plan = begun; ; await delay(pollMs)) {
    plan = (await cluster.router.toManager('manager.plan', { plan: begun.id })).body.plan
    if (isOver(plan)) {
      progress.done(`plan ${plan.id} ${plan.phase}`)
      return plan
    }
    progress.step(summaryLine(plan))
  }
}

function showPlans ({ plans, settings }: PlansResponse, { json }: Json): void {
  if (json === true) {
    printJson({ plans, settings })
    return
  }
  print(budgetText(settings))
  if (plans.length === 0) return
  print()
  printTable(['PLAN', 'KIND', 'STATE', 'MOVES', 'ACTIVE', 'GIVEN UP', 'BYTES', 'BEGUN', 'WHY'], plans.map((plan) => [
    plan.id, plan.kind, plan.phase, `${plan.movesDone}/${plan.moves}`, plan.movesActive, plan.movesGivenUp,
    `${formatBytes(plan.bytesDone)} of ${formatBytes(plan.bytes)}`, new Date(plan.createdMs).toISOString().slice(0, 19), plan.why
  ]))
}

async function showPlan (number: string, options: ClusterOptions & Json): Promise<void> {
  const { body } = await withCluster(options, ({ router }) => router.toManager('manager.plan', { plan: planNumber(number) }))
  if (options.json === true) {
    printJson(body)
    return
  }
  print(summaryLine(body.plan))
  print()
  showMoves(body.moves)
}

function showMoves (moves: PlannedMove[]): void {
  printTable(['PARTITION', 'FROM', 'TO', 'LEAD', 'BYTES', 'STATE'], moves.map(({ move: one, stage }) => [
    one.partition, one.from ?? '-', one.kind === 'lead' ? '-' : one.to ?? '-', (one.kind === 'lead' ? one.to : one.lead) ?? '-', formatBytes(bytesOf(one)), stage
  ]))
}

async function budget (options: ClusterOptions & Json & { bytesPerSecond?: number | 'none', copiesPerNode?: number, automatic?: 'on' | 'off' }): Promise<void> {
  const { bytesPerSecond, copiesPerNode, automatic } = options
  const changes: Partial<BalanceSettings> = {
    ...(bytesPerSecond !== undefined && { bytesPerSecond: bytesPerSecond === 'none' ? null : bytesPerSecond }),
    ...(copiesPerNode !== undefined && { copiesPerNode }),
    ...(automatic !== undefined && { automatic: automatic === 'on' })
  }
  const { settings } = await withCluster(options, async ({ router }) => {
    return (await (Object.keys(changes).length === 0 ? router.toManager('manager.plans', {}) : router.toManager('manager.set-balance', changes))).body
  })
  if (options.json === true) printJson(settings)
  else print(budgetText(settings))
}

function budgetText ({ automatic, bytesPerSecond, copiesPerNode }: BalanceSettings): string {
  const speed = bytesPerSecond === null ? 'any number of bytes' : formatBytes(bytesPerSecond)
  return `balancing by itself: ${automatic ? 'on' : 'off'}; budget: ${speed} a second, ${copiesPerNode} copies at once from a node and to a node`
}

function bytesOf (one: Move): number { return one.kind === 'replica' ? one.bytes : 0 }

function newToken (): string { return systemRandom.bytes(8).toString('hex') }

function planNumber (text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1) throw new AtollError('ATOLL_USAGE', `'${text}' is not the number of a plan`, { hint: 'atoll partition plans' })
  return value
}

function rate (text: string): number | 'none' {
  if (text === 'none') return text
  const bytes = byteSize(text)
  if (bytes < 1) throw new InvalidArgumentError('a size such as 50MiB, or none')
  return bytes
}
