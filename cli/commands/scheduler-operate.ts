import { existsSync, readFileSync } from 'node:fs'
import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { AtollError, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Evaluation, FrameworkStatus, Outcome, Plan } from '../../scheduler/framework/index.ts'
import { dataDirectoryDefault } from '../find-cluster.ts'
import { print, printJson, printTable } from '../output.ts'
import { wholeNumber } from './volume.ts'

/** What a running scheduler writes for the commands that operate it. */
export interface OperatorFile { url: string, token: string, pid: number }

export const operatorFileName = 'operator.json'
export const stateDirectoryDefault = './atoll-scheduler'
const answerTimeoutMs = 30_000

interface Options { data?: string, api?: string, tokenFile?: string, apiCa?: string, json?: boolean }

/** `explain`, `plan`, `update`, ...: asks the operator API of the scheduler that acts. */
export function operateCommands (scheduler: Command): void {
  // Its own --data is not that of a command below it.
  scheduler.parent?.enablePositionalOptions()
  scheduler.enablePositionalOptions()
  const add = (name: string, what: string): Command => scheduler.command(name).description(what)
    .option('--data <dir>', `of the scheduler, or of a cluster on this machine (default: ${stateDirectoryDefault}, else ${dataDirectoryDefault})`)
    .option('--api <url>', 'of a scheduler on another machine')
    .option('--token-file <path>', 'file with its token')
    .option('--api-ca <path>', 'authority of its certificate')
    .option('--json', 'for programs')

  add('show', 'the framework: its master, nodes and plans').action((options: Options) => asked<FrameworkStatus>(options, 'GET', '/v1/status', showStatus))
  add('explain [node]', 'why nodes have their place, or none: the last offers, rule by rule').action((node: string | undefined, options: Options) =>
    asked<Explanation>(options, 'GET', `/v1/explain${node === undefined ? '' : `?node=${encodeURIComponent(node)}`}`, showExplanation))
  add('plan [name]', 'what is being done and what is left').action((name: string | undefined, options: Options) =>
    asked<Plan | Plan[]>(options, 'GET', `/v1/plans${name === undefined ? '' : `/${encodeURIComponent(name)}`}`, (plans) => { showPlans([plans].flat()) }))
  for (const [verb, what] of [['pause', 'holds a plan'], ['resume', 'lets a plan go on']] as const) {
    add(`${verb} <plan>`, what).action((plan: string, options: Options) => done(options, 'POST', `/v1/plans/${encodeURIComponent(plan)}/${verb}`))
  }
  add('retry <plan> <node>', 'tries a step again at once').action((plan: string, node: string, options: Options) =>
    done(options, 'POST', `/v1/plans/${encodeURIComponent(plan)}/steps/${encodeURIComponent(node)}/retry`))
  add('scale', 'how many nodes there are to be; fewer are drained and verified first').argument('<nodes>', 'at least 1', wholeNumber).action((nodes: number, options: Options) =>
    done(options, 'PUT', '/v1/nodes', { count: nodes }))
  add('replace <node>', 'moves the data of a node away and ends it, while another one comes').action((node: string, options: Options) =>
    done(options, 'POST', `/v1/nodes/${encodeURIComponent(node)}/replace`))
  add('update', 'restarts nodes one fault domain after another: those that are outdated, or all')
    .option('--command <command>', 'shell command that starts a node')
    .option('--env <NAME=VALUE...>', 'environment of nodes')
    .option('--cpus <n>', 'what each node is to have: reserved first, then taken by the restart')
    .option('--mem <mb>', 'the same of memory')
    .option('--disk <mb>', 'what each volume is to have at least: volumes on shared disks grow, where the master can do that')
    .option('--force', 'without asking whether the cluster can do without a node')
    .action((options: Options & { command?: string, env?: string[], cpus?: string, mem?: string, disk?: string, force?: boolean }) => done(options, 'POST', '/v1/update', {
      ...(options.command === undefined ? {} : { command: options.command }),
      ...(options.env === undefined ? {} : { environment: environmentOf(options.env) }),
      ...(options.cpus === undefined ? {} : { cpus: Number(options.cpus) }),
      ...(options.mem === undefined ? {} : { memMb: Number(options.mem) }),
      ...(options.disk === undefined ? {} : { diskMb: Number(options.disk) }),
      force: options.force === true
    }))
  add('uninstall', 'ends all nodes, destroys their volumes, gives all resources back, tears the framework down')
    .option('--dry-run', 'only lists what would go')
    .option('--yes', 'the data of the cluster is not needed any more')
    .action(uninstall)
}

function environmentOf (words: string[]): Record<string, string> {
  return Object.fromEntries(words.map((word) => {
    const at = word.indexOf('=')
    if (at < 1) throw new AtollError('ATOLL_USAGE', `not NAME=VALUE: '${word}'`)
    return [word.slice(0, at), word.slice(at + 1)]
  }))
}

async function asked<T> (options: Options, method: string, path: string, show: (answer: T) => void): Promise<void> {
  const answer = await ask<T>(options, method, path)
  if (options.json === true) printJson(answer)
  else show(answer)
}

async function done (options: Options, method: string, path: string, body?: unknown): Promise<void> {
  const answer = await ask(options, method, path, body)
  if (options.json === true) printJson(answer)
  else print(`accepted; what follows: atoll scheduler plan${options.data === undefined ? '' : ` --data ${options.data}`}`)
}

interface Endpoint { url: string, token: string, ca?: string }

function endpointOf ({ data, api, tokenFile, apiCa }: Options): Endpoint {
  const read = (path: string): string => {
    try {
      return readFileSync(path, 'utf8')
    } catch (error) {
      throw new AtollError('ATOLL_USAGE', `cannot read ${path}: ${messageOf(error)}`)
    }
  }
  const ca = apiCa === undefined ? {} : { ca: read(apiCa) }
  if (api !== undefined) {
    if (tokenFile === undefined) throw new AtollError('ATOLL_USAGE', '--api needs --token-file', { hint: 'the token is in operator.json of the data directory of the scheduler' })
    return { url: api.replace(/\/+$/, ''), token: read(tokenFile).trim(), ...ca }
  }
  const directories = data === undefined ? [stateDirectoryDefault, dataDirectoryDefault] : [data]
  const file = directories.flatMap((each) => [join(each, operatorFileName), join(each, 'scheduler', operatorFileName)]).find((each) => existsSync(each))
  if (file === undefined) throw new AtollError('ATOLL_UNREACHABLE', `no scheduler has been started with ${directories.map((each) => resolve(each)).join(' or ')}`, { hint: '--data DIR, or --api URL --token-file PATH' })
  const { url, token } = JSON.parse(read(file)) as OperatorFile
  return { url, token, ...ca }
}

function ask<T> (options: Options, method: string, path: string, body?: unknown): Promise<T> {
  const { url, token, ca } = endpointOf(options)
  const text = body === undefined ? '' : JSON.stringify(body)
  const headers = { authorization: `Bearer ${token}`, ...(text === '' ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }) }
  return new Promise((resolve, reject) => {
    const unreachable = (why: string): void => {
      reject(new AtollError('ATOLL_UNREACHABLE', `the scheduler at ${url} does not answer: ${why}`, { hint: 'start it: atoll scheduler' }))
    }
    const send = url.startsWith('https:') ? requestHttps : requestHttp
    const outgoing = send(`${url}${path}`, { method, headers, timeout: answerTimeoutMs, agent: false, ...(ca === undefined ? {} : { ca }) }, (incoming) => {
      let received = ''
      incoming.on('data', (chunk: Buffer) => { received += chunk.toString() })
      incoming.on('error', (error) => { unreachable(error.message) })
      incoming.on('end', () => {
        try {
          const json = JSON.parse(received) as T & { error?: { code: string, message: string, hint?: string } }
          if (json.error === undefined) resolve(json)
          else reject(new AtollError(json.error.code, json.error.message, json.error.hint === undefined ? {} : { hint: json.error.hint }))
        } catch {
          unreachable(`status ${incoming.statusCode}`)
        }
      })
    })
    outgoing.on('timeout', () => { outgoing.destroy(new Error('no answer in time')) })
    outgoing.on('error', (error) => { unreachable(error.message) })
    outgoing.end(text)
  })
}

function showStatus ({ clusterId, frameworkId, connected, master, problem, goal, nodesWanted, nodes, garbage, strays, plans }: FrameworkStatus): void {
  print(`cluster ${clusterId}, framework ${frameworkId ?? 'without an id yet'}: ${goal}, ${nodesWanted} nodes wanted`)
  print(connected ? `master ${master}` : `no master: ${problem === null ? 'not yet' : `${problem.code}: ${problem.message}`}`)
  if (garbage.length > 0) print(`${garbage.length} reservations that were given up are not yet seen to be free`)
  for (const stray of strays) print(`a volume of this cluster that belongs to no node: ${stray}`)
  print()
  printTable(['NODE', 'STATE', 'HOST', 'PORTS', 'DOMAIN', 'DISK', 'LAUNCHES', 'REASON'], nodes.map((node) => [
    node.id, node.state + (node.outdated ? ' (outdated)' : ''), node.host ?? '-', node.rpcPort === null ? '-' : `${node.rpcPort}, ${node.raftPort}`, node.domain.join('/'),
    node.disk === null ? '-' : `${node.disk.sizeMb} MB ${node.disk.type}`, node.launches, node.reason
  ]))
  print()
  printTable(['PLAN', 'STATUS'], plans.map(({ name, status }) => [name, status]))
}

function showPlans (plans: Plan[]): void {
  for (const { name, status, phases } of plans) {
    print(`${name}: ${status}`)
    if (phases.length > 0) printTable(['PHASE', 'STEP', 'STATUS', 'REASON'], phases.flatMap((phase) => phase.steps.map((step) => [phase.name, step.name, step.status, step.reason])))
  }
}

interface Explanation { nodes: Array<{ id: string, state: string, reason: string, host: string | null }>, evaluations: Array<Omit<Evaluation, 'atMs'> & { ageMs: number }> }

function showExplanation ({ nodes, evaluations }: Explanation): void {
  printTable(['NODE', 'STATE', 'HOST', 'REASON'], nodes.map(({ id, state, host, reason }) => [id, state, host ?? '-', reason]))
  if (evaluations.length === 0) print('no offer was looked at for it since the scheduler was started')
  for (const { ageMs, nodeId, hostname, chosen, outcome, score } of evaluations) {
    print()
    print(`${nodeId} on ${hostname}, ${Math.round(ageMs / 1000)} s ago: ${chosen ? 'taken' : outcome.pass ? 'fits, another offer was better' : 'does not fit'}`)
    for (const line of linesOf(outcome)) print(line)
    if (score !== null) print(`  ${score.points} points: ${score.parts.map(({ source, points, reason }) => `${source} ${points} (${reason})`).join(', ')}`)
  }
}

const linesOf = ({ children = [] }: Outcome): string[] => children.map(({ pass, source, reason }) => `  ${pass ? 'yes' : 'NO '} ${source}: ${reason}`)

interface Belongings { goal: string, tasks: string[], volumes: Array<{ node: string, persistenceId: string, host: string | null, sizeMb: number | null }>, reservations: string[], strays: string[], listed: string[] | null }

const uninstallPollMs = 1000

/** Waits until nothing is left: the scheduler ends then. */
async function uninstall (options: Options & { dryRun?: boolean, yes?: boolean }): Promise<void> {
  const belongings = await ask<Belongings>(options, 'GET', '/v1/uninstall')
  if (options.json === true) printJson(belongings)
  else showBelongings(belongings)
  if (options.dryRun === true) return
  if (options.yes !== true) throw new AtollError('ATOLL_USAGE', 'all data of this cluster will be destroyed', { hint: 'if that is wanted: atoll scheduler uninstall --yes' })
  await ask(options, 'POST', '/v1/uninstall')
  for (let left = belongings; ;) {
    await new Promise((resolve) => { setTimeout(resolve, uninstallPollMs) })
    try {
      left = await ask<Belongings>(options, 'GET', '/v1/uninstall')
    } catch (error) {
      // It ends when it has torn the framework down.
      if (error instanceof AtollError && error.code === 'ATOLL_UNREACHABLE' && left.tasks.length + left.volumes.length + left.reservations.length === 0) return
      throw error
    }
    if (left.goal === 'uninstalled') return
  }
}

function showBelongings ({ tasks, volumes, reservations, strays }: Belongings): void {
  for (const task of tasks) print(`task ${task}`)
  for (const { node, persistenceId, host, sizeMb } of volumes) print(`volume ${persistenceId} of ${node}, ${sizeMb} MB on ${host ?? 'an unknown host'}`)
  for (const id of reservations) print(`reservation ${id}`)
  for (const stray of strays) print(`stray volume ${stray}`)
  if (tasks.length + volumes.length + reservations.length + strays.length === 0) print('nothing')
}
