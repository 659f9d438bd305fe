import { AtollError } from '../../../fsnode/protocol/errors.ts'
import type { SimCluster } from '../cluster.ts'
import type { SimNode } from '../node.ts'
import { SimMachine } from './machine.ts'
import { agentIdOf, SimMaster } from './master.ts'
import { nodeCommand, SimScheduler } from './scheduler.ts'

const bytesPerMb = 1024 * 1024

/** What launches the storage nodes of a run: scheduler, master, and a machine for each node. */
export class SimScheduling {
  readonly master: SimMaster
  readonly scheduler: SimScheduler
  readonly machines: SimMachine[]
  private readonly nodes: number
  private turns = 0

  constructor (cluster: SimCluster, nodes: readonly SimNode[], diskBytes: number) {
    const { clock, network, random } = cluster
    const onFailure = (what: string): void => { cluster.violation(what) }
    const diskMb = diskBytes / bytesPerMb
    this.nodes = nodes.length
    this.machines = nodes.map((node, index) => new SimMachine(node, agentIdOf(index), onFailure))
    this.master = new SimMaster({ clock, network, random: random.fork(), log: cluster.logger('master') }, { drift: cluster.drift(), machines: this.machines, diskMb, onFailure })
    this.scheduler = new SimScheduler({ clock, network, random: random.fork(), log: cluster.logger('scheduler') }, { drift: cluster.drift(), nodes: nodes.length, diskMb, onFailure })
  }

  /** Storage nodes that were started, again and again. */
  get launches (): number { return this.machines.reduce((sum, { launches }) => sum + launches, 0) }

  start (): void {
    this.master.start()
    this.scheduler.start()
  }

  /** Gives all nodes another environment, one fault domain after another. Rejects while the framework does not run. */
  async update (): Promise<void> {
    const { framework } = this.scheduler
    if (framework === null) throw new AtollError('ATOLL_UNAVAILABLE', 'the scheduler is not running')
    await framework.update({ nodeCommand: { ...nodeCommand, environment: { TURN: String(++this.turns) } } })
  }

  /** Announces that machines are to be taken out of service soon, perhaps for how long, in place of what was announced before; none: all stay. */
  maintain (hosts: string[], wallMs: number, durationMs?: number): void {
    const nanoseconds = (ms: number): { nanoseconds: number } => ({ nanoseconds: Math.round(ms) * 1e6 })
    const unavailability = { start: nanoseconds(wallMs), ...(durationMs !== undefined && { duration: nanoseconds(durationMs) }) }
    const windows = hosts.map((hostname) => ({ machine_ids: [{ hostname }], unavailability }))
    this.master.operate({ type: 'UPDATE_MAINTENANCE_SCHEDULE', update_maintenance_schedule: { schedule: { windows } } })
  }

  /** Every wanted node runs, as scheduler, master and machines agree, and nothing is reserved that is of no use. */
  ailments (): string[] {
    const status = this.scheduler.framework?.status()
    const { state } = this.master
    if (status === undefined) return ['the scheduler is not running']
    if (state === null) return ['the master is not running']
    const ailing: string[] = []
    if (status.nodes.length !== this.nodes) ailing.push(`${status.nodes.length} nodes are wanted in place of ${this.nodes}`)
    for (const { id, state, reason } of status.nodes) if (state !== 'running') ailing.push(`${id} is ${state}: ${reason}`)
    const running = [...state.tasks.values()].filter((task) => task.state === 'TASK_RUNNING').map(({ info }) => info.task_id.value).sort().join()
    const believed = status.nodes.map(({ task }) => task?.id).sort().join()
    if (running !== believed) ailing.push(`the master runs ${running}, the framework believes ${believed}`)
    const idle = this.machines.filter(({ process }) => process?.released !== true).map(({ host }) => host)
    if (idle.length > 0) ailing.push(`nothing runs on ${idle.join(', ')}`)
    for (const { name, status: progress } of status.plans) if (progress !== 'complete') ailing.push(`the plan '${name}' is ${progress}`)
    for (const id of status.garbage) ailing.push(`the reservation ${id} is not freed`)
    for (const id of status.strays) ailing.push(`the volume ${id} belongs to nobody`)
    return ailing
  }
}
