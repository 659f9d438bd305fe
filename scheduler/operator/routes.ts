import { AtollError, codeOf, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Framework, NodeConfiguration, PlanName } from '../framework/index.ts'
import type { SizesChange } from '../framework/sizes.ts'
import { planNames } from '../framework/plans.ts'
import { metricsOf } from './metrics.ts'
import { openApi } from './openapi.ts'

export interface OperatorRequest { method: string, path: string, query: URLSearchParams, body: unknown }
export interface OperatorAnswer { status: number, json?: unknown, text?: string, allow?: string }

type Handler = (context: RouteContext, parameters: string[]) => Promise<unknown> | unknown
interface RouteContext { framework: Framework, request: OperatorRequest }
interface Route { method: string, pattern: RegExp, handler: Handler }

const invalid = (what: string): AtollError => new AtollError('ATOLL_INVALID', what)
const nothing = { ok: true }

const routes: Route[] = [
  route('GET', '/v1/openapi.json', () => openApi),
  route('GET', '/v1/status', ({ framework }) => ({ ...framework.status(), evaluations: undefined })),
  route('GET', '/v1/explain', ({ framework, request }) => explain(framework, request.query.get('node'))),
  route('GET', '/v1/plans', ({ framework }) => framework.status().plans),
  route('GET', '/v1/plans/*', ({ framework }, [name]) => framework.status().plans.find((plan) => plan.name === planOf(name))),
  route('POST', '/v1/plans/*/pause', ({ framework }, [name]) => framework.setPaused(planOf(name), true)),
  route('POST', '/v1/plans/*/resume', ({ framework }, [name]) => framework.setPaused(planOf(name), false)),
  route('POST', '/v1/plans/*/steps/*/retry', ({ framework }, [name, node]) => { planOf(name); return framework.retry(node!) }),
  route('GET', '/v1/nodes', ({ framework }) => framework.status().nodes),
  route('PUT', '/v1/nodes', ({ framework, request }) => framework.setNodes(countOf(request.body))),
  route('POST', '/v1/nodes/*/replace', ({ framework }, [id]) => framework.replaceNode(id!)),
  route('POST', '/v1/nodes/*/release', ({ framework }, [id]) => framework.releaseNode(id!)),
  route('POST', '/v1/update', ({ framework, request }) => {
    const { configuration, sizes, force } = updateOf(request.body, framework)
    return framework.update(configuration, { sizes, force })
  }),
  route('GET', '/v1/uninstall', ({ framework }) => belongings(framework)),
  route('POST', '/v1/uninstall', ({ framework }) => framework.uninstall())
]

function route (method: string, path: string, handler: Handler): Route {
  return { method, handler, pattern: new RegExp(`^${path.replaceAll('.', '\\.').replaceAll('*', '([A-Za-z0-9._-]+)')}$`) }
}

/** Statuses of errors that are the asker's. */
const statuses: Record<string, number> = { ATOLL_INVALID: 400, ATOLL_VOLUME_SIZE: 400, ATOLL_UNKNOWN_NODE: 404, ATOLL_UNKNOWN_PLAN: 404, ATOLL_CLOSED: 503 }

/** Answers one request; never rejects. */
export async function answer (framework: Framework, request: OperatorRequest): Promise<OperatorAnswer> {
  if (request.path === '/metrics' && request.method === 'GET') return { status: 200, text: metricsOf(framework.status()) }
  const matching = routes.filter(({ pattern }) => pattern.test(request.path))
  if (matching.length === 0) return failure(404, 'ATOLL_NOT_FOUND', `there is nothing at ${request.path}`, 'GET /v1/openapi.json tells what there is.')
  const found = matching.find(({ method }) => method === request.method)
  if (found === undefined) return { ...failure(405, 'ATOLL_INVALID', `${request.method} is not possible at ${request.path}`), allow: matching.map(({ method }) => method).join(', ') }
  try {
    const result = await found.handler({ framework, request }, found.pattern.exec(request.path)!.slice(1))
    return { status: request.method === 'GET' ? 200 : 202, json: result ?? nothing }
  } catch (error) {
    const hint = error instanceof AtollError ? error.details.hint : undefined
    return failure(statuses[codeOf(error)] ?? 500, codeOf(error), messageOf(error), hint)
  }
}

export function failure (status: number, code: string, message: string, hint?: string): OperatorAnswer {
  return { status, json: { error: { code, message, ...(hint === undefined ? {} : { hint }) } } }
}

function planOf (name: string | undefined): PlanName {
  const found = planNames.find((plan) => plan === name)
  if (found === undefined) throw new AtollError('ATOLL_UNKNOWN_PLAN', `there is no plan '${name ?? ''}'`, { hint: planNames.join(', ') })
  return found
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)

function countOf (body: unknown): number {
  if (!isObject(body) || typeof body.count !== 'number') throw invalid('a body {"count": N} is needed')
  return body.count
}

/** Why nodes have the place they have, or none: the last looks at offers, newest first, and what each node waits for. */
function explain (framework: Framework, nodeId: string | null): unknown {
  const { nodes, evaluations, nowMs } = framework.status()
  if (nodeId !== null && !nodes.some(({ id }) => id === nodeId)) throw new AtollError('ATOLL_UNKNOWN_NODE', `there is no node ${nodeId}`)
  return {
    nodes: nodes.filter(({ id }) => nodeId === null || id === nodeId).map(({ id, state, reason, host, retryInMs }) => ({ id, state, reason, host, retryInMs })),
    evaluations: evaluations.filter((evaluation) => nodeId === null || evaluation.nodeId === nodeId).reverse()
      .map(({ atMs, ...evaluation }) => ({ ageMs: Math.round(nowMs - atMs), ...evaluation }))
  }
}

/** All that an uninstall gives back. */
function belongings (framework: Framework): unknown {
  const { goal, nodes, garbage, strays, listed, frameworkId } = framework.status()
  return {
    goal,
    frameworkId,
    tasks: nodes.flatMap(({ task }) => task === null ? [] : task.id),
    volumes: nodes.flatMap(({ id, persistenceId, host, disk, resourceId }) => persistenceId === null ? [] : { node: id, persistenceId, host, sizeMb: disk?.sizeMb ?? null, resourceId }),
    reservations: garbage,
    strays,
    listed
  }
}

/** What an update may change. */
function updateOf (body: unknown, framework: Framework): { configuration: Partial<NodeConfiguration>, sizes: SizesChange, force: boolean } {
  if (body === undefined) return { configuration: {}, sizes: {}, force: false }
  if (!isObject(body)) throw invalid('the body is not an object')
  const unknown = Object.keys(body).find((key) => !['command', 'environment', 'killGraceMs', 'cpus', 'memMb', 'diskMb', 'force'].includes(key))
  if (unknown !== undefined) throw invalid(`'${unknown}' cannot be updated`)
  const { command, environment, killGraceMs, force } = body
  const configuration: Partial<NodeConfiguration> = {}
  if (command !== undefined || environment !== undefined) configuration.nodeCommand = commandOf(command, environment, framework)
  if (killGraceMs !== undefined) {
    if (typeof killGraceMs !== 'number' || !(killGraceMs >= 0)) throw invalid('killGraceMs is no duration')
    configuration.killGraceMs = killGraceMs
  }
  return { configuration, sizes: sizesOf(body), force: force === true }
}

function sizesOf (body: Record<string, unknown>): SizesChange {
  return Object.fromEntries((['cpus', 'memMb', 'diskMb'] as const).flatMap((name) => {
    const value = body[name]
    if (value === undefined) return []
    if (typeof value !== 'number') throw invalid(`${name} is no number`)
    return [[name, value]]
  }))
}

function commandOf (command: unknown, environment: unknown, framework: Framework): NodeConfiguration['nodeCommand'] {
  const { nodeCommand } = framework.configuration()
  const isText = (value: unknown): value is string => typeof value === 'string' && value !== ''
  if (environment !== undefined && (!isObject(environment) || !Object.values(environment).every((value) => typeof value === 'string'))) throw invalid('environment holds texts only')
  const changed = environment === undefined ? nodeCommand.environment : { ...nodeCommand.environment, ...environment as Record<string, string> }
  const rest = { ...(nodeCommand.uris === undefined ? {} : { uris: nodeCommand.uris }), ...(changed === undefined ? {} : { environment: changed }) }
  if (command === undefined) return { ...nodeCommand, ...rest }
  if (isText(command)) return { value: command, ...rest }
  if (Array.isArray(command) && command.length > 0 && command.every(isText)) return { arguments: command as string[], ...rest }
  throw invalid('command is a text for the shell, or a list of words')
}
