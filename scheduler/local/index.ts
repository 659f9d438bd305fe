import { mkdir } from 'node:fs/promises'
import { isIP } from 'node:net'
import { AtollError, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Clock, Kv, Logger, Random } from '../../fsnode/protocol/ports.ts'
import type { Attribute, DomainInfo, MasterInfo } from '../mesos/types.ts'
import { ProcessAgent } from './agent/agent.ts'
import { Sandboxes } from './agent/sandbox.ts'
import { detectResources, type MachineResources } from './agent/machine.ts'
import { mesosVersion } from './constants.ts'
import { uuidText } from './core/frameworks.ts'
import { beyond, normalList, plus, unreserved } from './core/resources.ts'
import { createState, newAgent, type Agent, type MasterState } from './core/state.ts'
import { MasterHttpServer } from './http-server.ts'
import { MasterShell, uuidOf } from './master.ts'
import type { Phase } from './wire/phase.ts'
import { openStore, readMeta, restoreAll } from './store.ts'

export type { Phase } from './wire/phase.ts'
export type { MachineDisk, MachineResources, PortRange } from './agent/machine.ts'

export interface LocalMasterComponents { clock: Clock, random: Random, log: Logger }

export interface LocalMasterInit {
  /** Holds the state, the volumes and the sandboxes; one master at a time. */
  workDir: string
  /** A loopback address; default 127.0.0.1. Whoever reaches it may run commands as this user. */
  host?: string
  /** Default 0: a free one. */
  port?: number
  /** Instead of what the machine has. */
  resources?: MachineResources
  attributes?: Attribute[]
  domain?: DomainInfo
  /** What offers name the machine; default: the host. */
  hostname?: string
  /** More agents on this machine, for tests of a cluster of several: each with its own name, place and resources. */
  moreAgents?: LocalAgentInit[]
  /** Whoever asks must be one of these; default: anybody may. */
  credentials?: Array<{ principal: string, secret: string }>
  /**
   * Whether agents that were known before a restart come up with the master (default), or, for tests, each when `setPresence` says so,
   * as those of a real master do.
   */
  agentsReturn?: 'at once' | 'when told'
  /** Pings that an agent does not answer for so long make it unreachable. */
  pingTimeoutMs?: number
  /** Once, when the store fails while it runs: the master has stopped then, tasks run on. */
  onFailure?: (error: AtollError) => void
}

/** `hostname`: a loopback address. */
export interface LocalAgentInit { hostname: string, resources: MachineResources, attributes?: Attribute[], domain?: DomainInfo }

export interface LocalMaster {
  /** `http://HOST:PORT` */
  url: string
  masterId: string
  agentId: string
  /** The first is `agentId`. */
  agentIds: string[]
  /** Plays what may happen between an agent and its master: tasks run on meanwhile. */
  setPresence (agentId: string, presence: 'registered' | 'hanging' | 'away' | 'removed'): void
  /** Plays what a master is besides leading: while it starts, and while another leads. */
  setPhase (phase: Phase): void
  /** Plays an agent that has lost its identity: it has another id now, which is returned; volumes and reservations are as they were. */
  replaceAgent (agentId: string): string | undefined
  /** Stops answering; tasks run on, and the next master on this `workDir` takes them over. */
  close (): Promise<void>
  /**
   * Kills every task with its grace and waits until their process groups are gone. Nothing is offered from then on.
   * Volumes and reservations stay. Rejects with ATOLL_TIMEOUT when some tasks do not go away.
   */
  killAllTasks (): Promise<void>
  /** `killAllTasks`, then `close` in any case. */
  shutdown (): Promise<void>
}

/**
 * Starts a Mesos master with one agent, this machine.
 * Rejects with ATOLL_PORT_IN_USE, ATOLL_ADDRESS_UNUSABLE, ATOLL_DATA_DIR_UNUSABLE, ATOLL_ALREADY_RUNNING (another master
 * works in `workDir`) or ATOLL_STORE_UNUSABLE.
 */
export async function startLocalMaster (components: LocalMasterComponents, init: LocalMasterInit): Promise<LocalMaster> {
  const { workDir, host = '127.0.0.1', port = 0 } = init
  requireLoopback(host)
  await requireDirectory(workDir)
  for (const { root } of [init, ...init.moreAgents ?? []].flatMap(({ resources }) => resources?.disks ?? [])) await requireDirectory(root)
  const kv = await openStore(workDir)
  let shell: MasterShell | undefined
  try {
    const state = await loadState(components, kv, init)
    if (init.pingTimeoutMs !== undefined) state.pingTimeoutMs = init.pingTimeoutMs
    let http: MasterHttpServer
    const serverInit = { version: mesosVersion, ...(init.credentials !== undefined && { credentials: init.credentials }) }
    shell = new MasterShell({ ...components, kv, serve: (handler) => http = new MasterHttpServer(components, handler, serverInit) }, { state, onFailure: init.onFailure })
    const sandboxes = await prepareSandboxes(components, workDir)
    const actualPort = await http!.listen(host, port)
    const agents = [...state.agents.values()]
    const [agent] = agents
    Object.assign(state.masterInfo, masterAddress(host, actualPort), init.domain !== undefined && { domain: init.domain })
    for (const each of agents) each.port = actualPort
    const driver = new ProcessAgent({ ...components, sandboxes }, { endpoint: `${host}:${actualPort}`, report: (report) => { shell!.report(report) } })
    shell.start(driver)
    const running = shell
    return {
      url: `http://${isIP(host) === 6 ? `[${host}]` : host}:${actualPort}`,
      masterId: state.masterId,
      agentId: agent!.id,
      agentIds: agents.map(({ id }) => id),
      setPresence: (agentId, presence) => { running.setPresence(agentId, presence) },
      setPhase: (phase) => { http.phase = phase },
      replaceAgent: (agentId) => running.replaceAgent(agentId),
      close: () => running.close(),
      killAllTasks: () => running.stopTasks(),
      shutdown: async () => {
        try {
          await running.stopTasks()
        } finally {
          await running.close()
        }
      }
    }
  } catch (error) {
    await (shell?.close() ?? kv.close())
    throw error
  }
}

async function loadState ({ clock, random }: LocalMasterComponents, kv: Kv, init: LocalMasterInit): Promise<MasterState> {
  const meta = await readMeta(kv)
  const masterId = meta?.masterId ?? uuidText(uuidOf(random))
  const wallMs = Number(clock.wallNs() / 1000n) / 1000
  const state = createState(masterId, { version: mesosVersion }, wallMs)
  if (meta !== undefined) await restoreAll(kv, state, meta)
  const known = new Map(state.agents)
  state.agents.clear()
  for (const [machine, each] of [init, ...(init.moreAgents ?? []).map((more) => ({ ...more, workDir: init.workDir }))].entries()) {
    const before = [...known.values()].find((agent) => agent.machine === machine)
    const presence = init.agentsReturn === 'when told' && before !== undefined ? 'recovered' : 'registered'
    const id = before?.id ?? `${masterId}-S${machine}`
    state.agents.set(id, { ...await currentAgent(id, machine, before, wallMs, each), ...(before?.presence !== 'gone' && { presence }) })
  }
  // Agents of an earlier start that are not there any more: what they hold is not lost.
  for (const [id, agent] of known) if (!state.agents.has(id)) state.agents.set(id, { ...agent, ...(agent.machine !== null && agent.presence !== 'gone' && { presence: 'unreachable' as const, unreachableMs: wallMs }) })
  return state
}

/** The agent with what the machine has today, and with the reservations and volumes of before. */
async function currentAgent (id: string, machine: number, before: Agent | undefined, wallMs: number, init: LocalMasterInit): Promise<Agent> {
  // Volumes take what is free: free space is measured once, when there are none.
  const measuredDiskMb = before?.base.find(({ name, disk }) => name === 'disk' && disk === undefined)?.scalar?.value
  const base = normalList(await detectResources(init.workDir, { ...(measuredDiskMb !== undefined && { diskMb: measuredDiskMb }), ...init.resources }))
  const reserved = (before?.total ?? []).filter(({ reservations }) => reservations !== undefined)
  return newAgent({
    ...before,
    id,
    machine,
    hostname: init.hostname ?? init.host ?? '127.0.0.1',
    port: 0,
    attributes: init.attributes ?? [],
    ...(init.domain !== undefined && { domain: init.domain }),
    base,
    total: plus(beyond(base, unreserved(reserved)), reserved),
    registeredMs: before?.registeredMs ?? wallMs,
    // It comes up with the master; only what an operator has said of it stays.
    presence: before?.presence === 'gone' ? 'gone' : 'registered'
  })
}

function masterAddress (host: string, port: number): MasterInfo {
  const ip = isIP(host) === 4 ? host : '127.0.0.1'
  return {
    ip: Buffer.from(ip.split('.').map(Number)).readUInt32LE(),
    port,
    pid: `master@${ip}:${port}`,
    hostname: host,
    address: { hostname: host, ip, port }
  }
}

function requireLoopback (host: string): void {
  if (host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))) return
  throw new AtollError('ATOLL_ADDRESS_UNUSABLE', `the embedded scheduler listens on loopback only, not on ${host}`, {
    hint: 'it runs commands for whoever can reach it; for several machines use a Mesos master'
  })
}

async function requireDirectory (workDir: string): Promise<void> {
  try {
    await mkdir(workDir, { recursive: true })
  } catch (error) {
    throw unusable(workDir, error)
  }
}

async function prepareSandboxes (components: { log: Logger }, workDir: string): Promise<Sandboxes> {
  const sandboxes = new Sandboxes(components, { workDir })
  try {
    await sandboxes.prepare()
    return sandboxes
  } catch (error) {
    throw unusable(workDir, error)
  }
}

function unusable (workDir: string, error: unknown): AtollError {
  return new AtollError('ATOLL_DATA_DIR_UNUSABLE', `cannot use ${workDir}: ${messageOf(error)}`, {
    hint: 'choose a data directory that this user may write to'
  })
}
