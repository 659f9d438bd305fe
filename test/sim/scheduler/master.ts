import { messageOf } from '../../../fsnode/protocol/errors.ts'
import type { Logger } from '../../../fsnode/protocol/ports.ts'
import { normalList, plus, beyond, unreserved } from '../../../scheduler/local/core/resources.ts'
import { createState, newAgent, type Agent, type MasterState } from '../../../scheduler/local/core/state.ts'
import { MasterShell } from '../../../scheduler/local/master.ts'
import type { RequestHandler } from '../../../scheduler/local/http-server.ts'
import type { OperatorCall } from '../../../scheduler/local/wire/operator-calls.ts'
import { readMeta, restoreAll } from '../../../scheduler/local/store.ts'
import type { Ending } from '../disk.ts'
import { MemoryKv } from '../memory-kv.ts'
import type { SimNetwork } from '../network.ts'
import { ProcessPorts, type Drift } from '../process.ts'
import type { SimClock } from '../clock.ts'
import type { SimRandom } from '../random.ts'
import { SimAgents } from './agents.ts'
import { SimMasterServer } from './http.ts'
import type { SimMachine } from './machine.ts'

export const masterHost = 'master'
export const masterPort = 5050
/** The answer goes nowhere. */
const operatorRequest = 0
const masterId = 'sim-master'
const cpus = 4
const memMb = 4_096
const portsFirst = 31_000
const portsCount = 10
/** So short that some faults last longer. */
const pingTimeoutMs = 8_000

export const agentIdOf = (index: number): string => `${masterId}-S${index}`

export interface SimMasterComponents { clock: SimClock, random: SimRandom, network: SimNetwork, log: Logger }

export interface SimMasterInit { drift: Drift, machines: readonly SimMachine[], diskMb: number, onFailure: (what: string) => void }

/** The master of scheduler/local, with an agent for each machine; its process can end and be started again on its store. */
export class SimMaster {
  /** null while it starts or is down. */
  state: MasterState | null = null
  private readonly components: SimMasterComponents
  private readonly init: SimMasterInit
  private kv: MemoryKv
  private ports: ProcessPorts | null = null
  private agents: SimAgents | null = null
  private handler: RequestHandler | null = null

  constructor (components: SimMasterComponents, init: SimMasterInit) {
    this.components = components
    this.init = init
    this.kv = new MemoryKv({ clock: components.clock, random: components.random.fork() })
  }

  start (): void {
    if (this.ports !== null) return
    const { clock, network } = this.components
    const ports = this.ports = new ProcessPorts(clock, network.host(masterHost), this.init.drift)
    this.run(ports).catch((error) => { if (ports === this.ports) this.init.onFailure(`the master cannot start: ${messageOf(error)}`) })
  }

  /** What an operator asks for; lost while the master is down. */
  operate (call: OperatorCall): void { this.handler?.operatorCall(operatorRequest, call) }

  end (ending: Ending): void {
    const { ports, kv, components } = this
    if (ports !== null) ports.alive = false
    this.ports = null
    this.state = null
    this.handler = null
    this.agents?.crash()
    this.agents = null
    components.network.crash(masterHost)
    if (ending === 'power') kv.crash(components.random)
    else kv.kill()
    this.kv = kv.reopen()
  }

  private async run (ports: ProcessPorts): Promise<void> {
    const { clock, network } = ports
    const { kv, components: { log } } = this
    const random = this.components.random.fork()
    const state = await this.load(kv, clock.now())
    let server: SimMasterServer
    let handler: RequestHandler
    const shell = new MasterShell({ clock, random, log, kv, serve: (served) => server = new SimMasterServer(handler = served) }, {
      state,
      onFailure: (error) => { if (ports === this.ports) this.init.onFailure(`the master has failed: ${error.message}`) }
    })
    await server!.listen(network, masterHost, masterPort)
    if (ports !== this.ports) return
    Object.assign(state.masterInfo, { hostname: masterHost, port: masterPort })
    this.agents = new SimAgents({ clock }, {
      machines: this.init.machines,
      report: (report) => { shell.report(report) },
      hear: (agentId, presence) => { shell.setPresence(agentId, presence) }
    })
    this.state = state
    this.handler = handler!
    shell.start(this.agents)
  }

  private async load (kv: MemoryKv, nowMs: number): Promise<MasterState> {
    const state = createState(masterId, { version: 'sim' }, nowMs)
    state.pingTimeoutMs = pingTimeoutMs
    const meta = await readMeta(kv)
    if (meta !== undefined) await restoreAll(kv, state, meta)
    for (const machine of this.init.machines) state.agents.set(machine.agentId, this.agentOf(machine, state.agents.get(machine.agentId), nowMs))
    return state
  }

  /** What the machine has, with the reservations and volumes of before. */
  private agentOf ({ agentId, host, presence }: SimMachine, before: Agent | undefined, nowMs: number): Agent {
    const base = normalList([
      { name: 'cpus', type: 'SCALAR', scalar: { value: cpus } },
      { name: 'mem', type: 'SCALAR', scalar: { value: memMb } },
      { name: 'disk', type: 'SCALAR', scalar: { value: this.init.diskMb } },
      { name: 'ports', type: 'RANGES', ranges: { range: [{ begin: portsFirst, end: portsFirst + portsCount - 1 }] } }
    ])
    const reserved = (before?.total ?? []).filter(({ reservations }) => reservations !== undefined)
    return newAgent({
      ...before, presence, silentSinceMs: nowMs, id: agentId, hostname: host, port: 0, attributes: [], base, total: plus(beyond(base, unreserved(reserved)), reserved), registeredMs: before?.registeredMs ?? nowMs
    })
  }
}
