import { connect, type Server, type Socket } from 'node:net'
import type { AtollError } from '../../../fsnode/protocol/errors.ts'
import { silentLog } from '../../../fsnode/protocol/pino-log.ts'
import type { AgentDriver, AgentReport } from '../../../scheduler/local/agent/agent.ts'
import type { LaunchOrder, ProcessExit, VolumePlace } from '../../../scheduler/local/core/effects.ts'
import { normalList } from '../../../scheduler/local/core/resources.ts'
import { createState, newAgent, type Agent, type CheckStatus, type MasterState } from '../../../scheduler/local/core/state.ts'
import { MasterHttpServer } from '../../../scheduler/local/http-server.ts'
import { MasterShell } from '../../../scheduler/local/master.ts'
import { readMeta, restoreAll } from '../../../scheduler/local/store.ts'
import type { Phase } from '../../../scheduler/local/wire/phase.ts'
import type { Attribute, Resource } from '../../../scheduler/mesos/types.ts'
import { settle, SimClock } from '../../sim/clock.ts'
import { MemoryKv } from '../../sim/memory-kv.ts'
import { SimRandom } from '../../sim/random.ts'
import { HttpReader } from './http-reader.ts'

export const scalar = (name: string, value: number): Resource => ({ name, type: 'SCALAR', scalar: { value } })
export const ports = (begin: number, end: number): Resource => ({ name: 'ports', type: 'RANGES', ranges: { range: [{ begin, end }] } })

export function agentOf (id: string, resources: Resource[], attributes: Attribute[] = [], machine: { hostname: string, ip: string } = { hostname: '127.0.0.1', ip: '127.0.0.1' }): Agent {
  const base = normalList(resources)
  return newAgent({ id, ...machine, port: 5051, attributes, base, total: base, registeredMs: 0 })
}

/** An agent whose processes exist only in what the test says of them. */
export class ScriptedAgent implements AgentDriver {
  readonly orders = new Map<string, LaunchOrder>()
  readonly volumes = new Set<string>()
  readonly killed: string[] = []
  /** Of each kill, by the task's id. */
  readonly graces: Record<string, number[]> = {}
  report: (report: AgentReport) => void = () => {}
  onKill: (containerId: string) => void = () => {}
  private pid = 1000

  async createVolume ({ role, id }: VolumePlace): Promise<void> { this.volumes.add(`${role}/${id}`) }
  async destroyVolume ({ role, id }: VolumePlace): Promise<void> { this.volumes.delete(`${role}/${id}`) }
  launch (order: LaunchOrder): void { this.orders.set(order.info.task_id.value, order) }
  adopt (order: LaunchOrder): void { this.orders.set(order.info.task_id.value, order) }
  release (): void {}
  kill (containerId: string, graceMs: number): void {
    this.killed.push(containerId)
    const order = [...this.orders.values()].find((one) => one.containerId === containerId)
    if (order !== undefined) (this.graces[order.info.task_id.value] ??= []).push(graceMs)
    this.onKill(containerId)
  }

  async detach (): Promise<void> {}

  spawned (taskId: string): void { this.tell(taskId, { type: 'task-spawned', process: { pid: this.pid++, startTime: 'boot' } }) }
  launchFailed (taskId: string, message: string): void { this.tell(taskId, { type: 'task-launch-failed', message }) }
  health (taskId: string, healthy: boolean, kill: boolean): void { this.tell(taskId, { type: 'task-health', healthy, kill }) }
  checked (taskId: string, status: CheckStatus): void { this.tell(taskId, { type: 'task-check', status }) }
  exited (taskId: string, exit: ProcessExit): void { this.tell(taskId, { type: 'task-exited', exit }) }

  private tell (taskId: string, what: object): void {
    const { key, containerId } = this.orders.get(taskId)!
    this.report({ key, containerId, ...what } as AgentReport)
  }
}

export interface TestMaster { shell: MasterShell, http: MasterHttpServer, agent: ScriptedAgent, clock: SimClock, kv: MemoryKv, state: MasterState, port: number, failures: AtollError[] }

const newState = (): MasterState => createState('11111111-2222-4333-8444-555555555555', { version: '1.12.0', hostname: '127.0.0.1' }, 0)

/** The master with its real HTTP server, on virtual time. */
export function startTestMaster (agents: Agent[], seed = 1, credentials?: Array<{ principal: string, secret: string }>, clock = new SimClock()): Promise<TestMaster> {
  const state = newState()
  for (const agent of agents) state.agents.set(agent.id, agent)
  return runTestMaster(state, new ScriptedAgent(), new MemoryKv(), clock, seed, credentials)
}

/** The master is killed. */
export async function killTestMaster ({ shell, kv }: TestMaster): Promise<void> {
  kv.kill()
  await shell.close()
}

/** The next one on the store of one that was killed: no agent is back yet. Its processes run on. */
export async function succeedTestMaster (killed: TestMaster, phase: Phase = 'leading'): Promise<TestMaster> {
  const kv = killed.kv.reopen()
  const state = newState()
  await restoreAll(kv, state, (await readMeta(kv))!)
  for (const [id, agent] of state.agents) {
    const { hostname, ip, port, attributes, domain } = killed.state.agents.get(id)!
    Object.assign(agent, { hostname, ip, port, attributes, ...(domain !== undefined && { domain }), presence: 'recovered' })
  }
  state.pingTimeoutMs = killed.state.pingTimeoutMs
  const next = await runTestMaster(state, killed.agent, kv, killed.clock, 2)
  next.http.phase = phase
  return next
}

async function runTestMaster (state: MasterState, agent: ScriptedAgent, kv: MemoryKv, clock: SimClock, seed: number, credentials?: Array<{ principal: string, secret: string }>): Promise<TestMaster> {
  const failures: AtollError[] = []
  let http: MasterHttpServer
  const shell = new MasterShell({
    clock, random: new SimRandom(seed), log: silentLog, kv, serve: (handler) => http = new MasterHttpServer({ log: silentLog }, handler, { version: '1.12.0', ...(credentials !== undefined && { credentials }) })
  }, { state, onFailure: (error) => { failures.push(error) } })
  agent.report = (report) => { shell.report(report) }
  watchAccepted(http!)
  const port = await http!.listen('127.0.0.1', 0)
  Object.assign(state.masterInfo, { ip: 16777343, port, pid: `master@127.0.0.1:${port}`, address: { hostname: '127.0.0.1', ip: '127.0.0.1', port } })
  shell.start(agent)
  return { shell, http: http!, agent, clock, kv, state, port, failures }
}

/** Both ends of what is connected: sockets of raw connections, and those of masters by the port of the other end. */
const dialed = new Set<Socket>()
const accepted = new Map<number, Socket>()

function watchAccepted (http: MasterHttpServer): void {
  (http as unknown as { server: Server }).server.on('connection', (socket) => {
    const port = socket.remotePort!
    accepted.set(port, socket)
    socket.once('close', () => { accepted.delete(port) })
  })
}

/** A raw connection: bytes go out as they are. */
export class RawConnection extends HttpReader {
  readonly socket: Socket
  closed = false

  constructor (port: number) {
    super()
    this.socket = connect(port, '127.0.0.1')
    dialed.add(this.socket)
    this.socket.on('data', (bytes) => { this.push(bytes as Buffer) })
    this.socket.on('error', () => {})
    this.socket.on('close', () => {
      this.closed = true
      dialed.delete(this.socket)
    })
  }

  send (bytes: string): void { this.socket.write(bytes) }
}

/** Waits for the condition while only the network moves; false when it does not come in reasonable time. */
export async function eventually (condition: () => boolean, limitMs = 10_000): Promise<boolean> {
  const end = performance.now() + limitMs
  while (!condition()) {
    if (performance.now() > end) return false
    await settle()
  }
  return true
}

/** Whether the condition comes to hold before the network has carried all that was sent, with all that follows from it. */
export async function holdsWhenQuiet (condition: () => boolean): Promise<boolean> {
  for (let quietTurns = 0; quietTurns < quietTurnsMin; quietTurns = isQuiet() ? quietTurns + 1 : 0) {
    if (condition()) return true
    await settle()
  }
  return condition()
}

/** More turns of the event loop than a master takes from a request to its answer. */
const quietTurnsMin = 30

/** Each end of each connection has got what the other one has sent. */
function isQuiet (): boolean {
  return dialed.size === accepted.size && [...dialed].every(({ localPort, bytesRead, bytesWritten }) => {
    const other = accepted.get(localPort!)
    return other?.bytesRead === bytesWritten && other.bytesWritten === bytesRead
  })
}
