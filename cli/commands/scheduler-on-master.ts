import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bulkProcessEnvironment, bulkProcessFlags } from '../../fsnode/protocol/engine-flags.ts'
import { AtollError, messageOf } from '../../fsnode/protocol/errors.ts'
import { openLevelKv } from '../../fsnode/protocol/level-kv.ts'
import type { Clock, Kv, Logger, Random } from '../../fsnode/protocol/ports.ts'
import { createLogger } from '../../fsnode/protocol/pino-log.ts'
import { systemClock, systemRandom } from '../../fsnode/protocol/system.ts'
import { systemNetwork } from '../../fsnode/protocol/system-network.ts'
import { routerLink } from '../../scheduler/cluster/router-link.ts'
import { startFramework, type Framework, type FrameworkInit } from '../../scheduler/framework/index.ts'
import { httpMasterClient } from '../../scheduler/mesos/client.ts'
import { parseCredentials } from '../../scheduler/mesos/credentials.ts'
import { httpPoster, type TlsOptions } from '../../scheduler/mesos/http.ts'
import { artifactCommand, buildArtifact, serveArtifact, type Artifact } from '../../scheduler/artifact/artifact.ts'
import { ClusterStateStore } from '../../scheduler/standby/cluster-store.ts'
import { StateMirror } from '../../scheduler/standby/mirror.ts'
import { waitForTurn } from '../../scheduler/standby/standby.ts'
import { parseAddress } from '../find-cluster.ts'
import { ReservedWatch } from '../../scheduler/operator/reserved-watch.ts'
import { OperatorServer } from '../../scheduler/operator/server.ts'
import { isZooKeeperUrl } from '../../scheduler/zookeeper/address.ts'
import { operatorFileName, stateDirectoryDefault, type OperatorFile } from './scheduler-operate.ts'

export interface MasterOptions {
  master?: string
  data?: string
  nodes: number
  role: string
  principal: string
  secretFile?: string
  tlsCa?: string
  tlsCert?: string
  tlsKey?: string
  nodesPerAgent: number
  cpus: number
  mem: number
  disk: number
  diskType: 'root' | 'path' | 'mount'
  constraint?: string[]
  replaceAfter: number
  nodeCommand?: string
  newFrameworkId?: boolean
  cluster?: string
  artifact?: boolean
  artifactUrl?: string
  listen: string
  listenCert?: string
  listenKey?: string
}

const tokenBytes = 32

/** The framework against real masters. Runs until SIGTERM; the nodes go on without it. From when it listens on, the commands that operate it find it. */
export async function schedulerOnMaster (options: MasterOptions): Promise<void> {
  if (options.master === undefined) {
    throw new AtollError('ATOLL_USAGE', 'which master?', { hint: 'atoll scheduler --master HOST:PORT,... or zk://HOST:PORT,.../mesos; for a cluster on this machine: atoll up' })
  }
  const directory = resolve(options.data ?? stateDirectoryDefault)
  mkdirSync(directory, { recursive: true })
  const log = createLogger('scheduler')
  const components = { clock: systemClock, random: systemRandom, log }
  const tls = tlsOf(options)
  const credentials = options.secretFile === undefined ? undefined : parseCredentials(read(options.secretFile, '--secret-file'), options.principal)
  const masters = isZooKeeperUrl(options.master) ? [options.master] : options.master.split(',')
  const kv = await openLevelKv({ directory: join(directory, 'framework') })
  const artifact = options.artifact === true ? await buildArtifact(join(directory, 'artifact')) : undefined
  const operator = new OperatorServer({ log }, operatorInit(options, artifact))
  const url = await operator.listen()
  writeOperatorFile(directory, { url, token: operatorToken(directory), pid: process.pid })
  const signal = new Promise<void>((resolve) => { process.once('SIGTERM', () => { resolve() }).once('SIGINT', () => { resolve() }) })
  try {
    const process = { components, kv, operator, signal }
    if (await isOurTurn(options, process)) await act(options, { ...process, masters, tls, credentials, url, artifact })
  } finally {
    await operator.close()
    await kv.close()
    rmSync(join(directory, operatorFileName), { force: true })
  }
}

interface Process {
  components: { clock: Clock, random: Random, log: Logger }
  kv: Kv
  operator: OperatorServer
  /** Resolves when the process is to end. */
  signal: Promise<void>
}

interface Acting extends Process {
  masters: string[]
  tls: TlsOptions | undefined
  credentials: ReturnType<typeof parseCredentials> | undefined
  /** Of the operator API. */
  url: string
  artifact: Artifact | undefined
}

/** Waits while another scheduler acts. False: it is to end before that. */
async function isOurTurn ({ cluster }: MasterOptions, { components, kv, operator, signal }: Process): Promise<boolean> {
  if (cluster === undefined) return true
  const store = new ClusterStateStore({ ...components, network: systemNetwork }, { seeds: () => cluster.split(',').map(parseAddress) })
  const onWatch = ({ api }: { api: string }): void => {
    components.log.info('standing by', { acts: api })
    operator.standBy(api)
  }
  const turn = await waitForTurn({ ...components, kv, store }, { cancelled: signal, onWatch })
  store.close()
  return turn !== 'cancelled'
}

async function act (options: MasterOptions, { components, kv, operator, signal, masters, tls, credentials, url, artifact }: Acting): Promise<void> {
  const { log } = components
  const outside = { ...components, network: systemNetwork }
  const framework = await startFramework({
    ...components,
    kv,
    masterClientFactory: httpMasterClient(components),
    clusterLinkFactory: routerLink(outside)
  }, {
    masters,
    role: options.role,
    principal: options.principal,
    ...(credentials !== undefined && { secret: credentials.secret }),
    ...(tls !== undefined && { tls }),
    name: 'atoll',
    nodes: options.nodes,
    nodesPerAgentMax: options.nodesPerAgent,
    resources: { cpus: options.cpus, memMb: options.mem, diskMb: options.disk },
    diskType: options.diskType,
    constraints: options.constraint ?? [],
    replaceAfterMs: options.replaceAfter * 1000,
    newFrameworkIdIfRemoved: options.newFrameworkId === true,
    webuiUrl: url,
    ...programOf(options, artifact, url)
  })
  operator.use(framework)
  const mirror = new StateMirror({ ...components, kv, store: new ClusterStateStore(outside, { seeds: () => seedsOf(framework), nodesWanted: () => framework.status().nodesWanted }) }, { clusterId: framework.status().clusterId, api: url })
  framework.onChange(() => { mirror.touch() })
  await mirror.start()
  const watch = new ReservedWatch({ ...components, post: httpPoster(tls === undefined ? {} : { tls }) }, framework, credentials)
  log.info('running', { api: url })
  try {
    await ended(framework, signal)
  } finally {
    watch.close()
    mirror.close()
    await operator.close()
    await framework.close()
  }
}

/** Until a signal, the end of an uninstall, or an end that only an operator can mend. */
function ended (framework: Framework, signal: Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    let wasConnected = false
    const look = (): void => {
      const { goal, problem, connected } = framework.status()
      wasConnected ||= connected
      // Torn down by us just now, or, as the master says, before.
      const isOver = goal === 'uninstalled' && ((wasConnected && !connected) || problem?.code === 'ATOLL_MESOS_REMOVED')
      if (isOver) resolve()
      else if (problem?.final === true) reject(new AtollError(problem.code, problem.message, { ...hints[problem.code] !== undefined && { hint: hints[problem.code] } }))
    }
    framework.onChange(look)
    void signal.then(resolve)
    look()
  })
}

const seedsOf = (framework: Framework): Array<{ host: string, port: number }> => framework.status().nodes.flatMap(({ state, host, rpcPort }) =>
  state === 'running' && host !== null && rpcPort !== null ? { host, port: rpcPort } : [])

/** How agents start nodes: by a command of the operator's, from what we serve, or from this installation, which they have, too. */
function programOf ({ nodeCommand, artifactUrl }: MasterOptions, artifact: Artifact | undefined, url: string): Pick<FrameworkInit, 'nodeCommand' | 'healthCheck'> {
  if (nodeCommand !== undefined) return { nodeCommand: { value: nodeCommand } }
  if (artifact !== undefined) return artifactCommand(artifact, artifactUrl?.replace(/\/+$/, '') ?? url)
  return { nodeCommand: { environment: bulkProcessEnvironment, arguments: [process.execPath, ...bulkProcessFlags, fileURLToPath(new URL('../../fsnode/server/main.ts', import.meta.url))] } }
}

const hints: Record<string, string> = {
  ATOLL_MESOS_FAILED_OVER: 'another scheduler runs this cluster now; leave it to that one',
  ATOLL_MESOS_REMOVED: 'the master has removed the framework and killed its tasks; volumes and reservations are still there. To go on with them under a new id: --new-framework-id'
}

export function operatorToken (directory: string): string {
  const file = join(directory, 'operator-token')
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    const token = randomBytes(tokenBytes).toString('hex')
    writeFileSync(file, `${token}\n`, { mode: 0o600 })
    return token
  }
}

export function writeOperatorFile (directory: string, content: OperatorFile): void {
  const file = join(directory, operatorFileName)
  writeFileSync(file, `${JSON.stringify(content)}\n`, { mode: 0o600 })
  chmodSync(file, 0o600)
}

function operatorInit (options: MasterOptions, artifact: Artifact | undefined): ConstructorParameters<typeof OperatorServer>[1] {
  const match = /^(\[[^\]]+\]|[^:]*):(\d{1,5})$/.exec(options.listen)
  if (match === null) throw new AtollError('ATOLL_USAGE', `not HOST:PORT: '${options.listen}'`, { hint: '--listen 127.0.0.1:0' })
  const { listenCert, listenKey } = options
  if ((listenCert === undefined) !== (listenKey === undefined)) throw new AtollError('ATOLL_USAGE', '--listen-cert and --listen-key belong together')
  return {
    host: match[1]!.replace(/^\[|\]$/g, '') || '0.0.0.0',
    port: Number(match[2]),
    token: operatorToken(resolve(options.data ?? stateDirectoryDefault)),
    ...(artifact !== undefined && { serveArtifact: (name, response) => serveArtifact(artifact, name, response) }),
    ...(listenCert !== undefined && listenKey !== undefined && { tls: { cert: read(listenCert, '--listen-cert'), key: read(listenKey, '--listen-key') } })
  }
}

function tlsOf ({ tlsCa, tlsCert, tlsKey }: MasterOptions): TlsOptions | undefined {
  if ((tlsCert === undefined) !== (tlsKey === undefined)) throw new AtollError('ATOLL_USAGE', '--tls-cert and --tls-key belong together')
  if (tlsCa === undefined && tlsCert === undefined) return undefined
  return {
    ...(tlsCa !== undefined && { ca: read(tlsCa, '--tls-ca') }),
    ...(tlsCert !== undefined && tlsKey !== undefined && { cert: read(tlsCert, '--tls-cert'), key: read(tlsKey, '--tls-key') })
  }
}

function read (path: string, option: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new AtollError('ATOLL_USAGE', `cannot read ${path}: ${messageOf(error)}`, { hint: `${option} PATH` })
  }
}
