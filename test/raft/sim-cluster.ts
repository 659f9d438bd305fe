import type { Clock, Logger, Timer } from '../../fsnode/protocol/ports.ts'
import type { RaftLimits, RaftTiming } from '../../fsnode/raft/constants.ts'
import { RaftHost } from '../../fsnode/raft/host.ts'
import { LogStore } from '../../fsnode/raft/log-store.ts'
import type { RaftGroup } from '../../fsnode/raft/types.ts'
import { SimClock } from '../sim/clock.ts'
import { MemoryKv } from '../sim/memory-kv.ts'
import { SimRaftNetwork } from '../sim/raft-transport.ts'
import { SimRandom } from '../sim/random.ts'
import { LogMachine, type Applied } from './log-machine.ts'

export interface SimClusterInit {
  seed?: number
  nodes: number
  timing?: Partial<RaftTiming>
  limits?: Partial<RaftLimits>
  syncDelayMsMax?: number
  /** Each sync takes exactly this. */
  syncDelayMs?: number
}

export interface SimNode {
  id: string
  kv: MemoryKv
  machine: LogMachine
  host: RaftHost
  group: RaftGroup
  clock: MortalClock
  up: boolean
}

const groupId = '1.m.0'

/** Raft hosts on simulated time, disks and network, with one group, and checks of what must always hold. */
export class SimCluster {
  readonly clock = new SimClock()
  readonly random: SimRandom
  readonly network: SimRaftNetwork
  readonly nodes = new Map<string, SimNode>()
  readonly errors: string[] = []
  /** Found by the checks. */
  readonly violations: string[] = []
  private readonly init: SimClusterInit
  private readonly appliedAt = new Map<number, Applied>()
  private readonly leaders = new Map<number, string>()

  constructor (init: SimClusterInit) {
    this.init = init
    this.random = new SimRandom(init.seed ?? 1)
    this.network = new SimRaftNetwork({ clock: this.clock, random: this.random.fork() })
  }

  get ids (): string[] { return Array.from({ length: this.init.nodes }, (_, index) => `n${index + 1}`) }

  get running (): SimNode[] { return [...this.nodes.values()].filter((node) => node.up) }

  get leader (): SimNode | undefined {
    return this.running.filter((node) => node.group.status.role === 'leader').sort((one, other) => other.group.status.term - one.group.status.term)[0]
  }

  async start (): Promise<this> {
    for (const id of this.ids) await this.startNode(id, this.ids)
    return this
  }

  async startNode (id: string, members: string[]): Promise<SimNode> {
    const { syncDelayMs } = this.init
    const disk = { syncDelayMsMin: syncDelayMs ?? 0.1, syncDelayMsMax: syncDelayMs ?? this.init.syncDelayMsMax ?? 1 }
    const kv = this.nodes.get(id)?.kv.reopen() ?? new MemoryKv({ clock: this.clock, random: this.random.fork() }, disk)
    const machine = this.nodes.get(id)?.machine.crash() ?? new LogMachine()
    machine.onApply = (applied) => { this.checkApplied(id, applied) }
    const clock = new MortalClock(this.clock)
    const host = new RaftHost(
      { clock, random: this.random.fork(), log: this.logger(id, clock), kv, transport: this.network.endpoint(id) },
      { self: id, ...(this.init.timing && { timing: this.init.timing }), ...(this.init.limits && { limits: this.init.limits }) }
    )
    const group = await this.clock.run(host.open({ groupId, members, stateMachine: machine }))
    const node: SimNode = { id, kv, machine, host, group, clock, up: true }
    group.onStatus((status) => { if (status.role === 'leader') this.checkLeader(id, status.term) })
    if (group.status.role === 'leader') this.checkLeader(id, group.status.term)
    this.nodes.set(id, node)
    return node
  }

  /** The power fails at this node. */
  crash (id: string): void {
    const node = this.nodes.get(id)!
    node.up = false
    node.clock.dead = true
    this.network.crash(id)
    node.kv.crash(this.random)
  }

  async restart (id: string): Promise<SimNode> {
    return this.startNode(id, this.ids)
  }

  /** The logs of two nodes are equal up to the last entry of equal term. Only for nodes that write nothing at the moment. */
  async checkLogs (): Promise<void> {
    const logs = await Promise.all(this.running.map(async ({ kv }) => {
      const store = new LogStore({ kv, log: this.logger('check', new MortalClock(this.clock)) }, { onFailure: () => {} })
      const { log } = (await this.clock.run(store.load(groupId, Infinity)))!
      return new Map(log.slice(log.markIndex + 1, Infinity, Infinity)!.map((entry) => [entry.index, entry]))
    }))
    for (const one of logs) {
      for (const other of logs) {
        let match = false
        for (const index of [...one.keys()].sort((a, b) => b - a)) {
          const [left, right] = [one.get(index)!, other.get(index)]
          if (right === undefined) continue
          match ||= left.term === right.term
          if (match && (left.term !== right.term || left.kind !== right.kind || Buffer.compare(left.data, right.data) !== 0)) {
            this.violations.push(`log matching: entry ${index} differs before a common one`)
          }
        }
      }
    }
  }

  node (id: string): SimNode { return this.nodes.get(id)! }

  async untilLeader (limitMs = 20_000): Promise<SimNode> {
    await this.until(() => {
      const { leader } = this
      if (leader === undefined || !leader.group.canReadNow) return false
      const { members } = leader.group.status
      return this.running.filter(({ id, group }) => members.includes(id) && group.status.leader === leader.id).length * 2 > members.length
    }, limitMs, 'a leader')
    return this.leader!
  }

  propose (node: SimNode, command: string): Promise<unknown> {
    return node.group.propose(Buffer.from(command))
  }

  /** Tries until a leader takes it. */
  async proposeFirmly (command: string): Promise<unknown> {
    for (;;) {
      const leader = await this.untilLeader(60_000)
      try {
        return await this.clock.run(this.propose(leader, command))
      } catch {
        await this.clock.advance(50)
      }
    }
  }

  /** All running nodes have applied the same. */
  async untilConverged (limitMs = 60_000): Promise<void> {
    await this.until(() => {
      const { leader } = this
      if (leader === undefined) return false
      const nodes = this.running.filter((node) => leader.group.status.members.includes(node.id))
      const last = leader.machine.applied.at(-1)?.index
      return nodes.length === leader.group.status.members.length && nodes.every((node) => node.machine.applied.at(-1)?.index === last && node.group.status.appliedIndex === leader.group.status.commitIndex)
    }, limitMs, 'convergence')
  }

  private async until (condition: () => boolean, limitMs: number, what: string): Promise<void> {
    try {
      await this.clock.until(condition, limitMs, what)
    } catch (error) {
      const nodes = this.running.map(({ id, group, machine }) => JSON.stringify({ id, ...group.status, last: machine.applied.at(-1) }))
      throw new Error([String(error), ...nodes, ...this.errors, ...this.violations].join('\n'))
    }
  }

  private checkApplied (id: string, applied: Applied): void {
    const known = this.appliedAt.get(applied.index)
    if (known === undefined) this.appliedAt.set(applied.index, applied)
    else if (known.command !== applied.command || known.term !== applied.term) {
      this.violations.push(`state machine safety: ${id} applied ${JSON.stringify(applied)}, another ${JSON.stringify(known)}`)
    }
  }

  private checkLeader (id: string, term: number): void {
    const known = this.leaders.get(term)
    if (known === undefined) this.leaders.set(term, id)
    else if (known !== id) this.violations.push(`election safety: ${id} and ${known} lead term ${term}`)
  }

  private logger (id: string, clock: MortalClock): Logger {
    const quiet = (): void => {}
    const logger: Logger = {
      debug: quiet,
      info: quiet,
      warn: quiet,
      error: (message, fields) => { if (!clock.dead) this.errors.push(`${id}: ${message} ${JSON.stringify(fields)}`) },
      child: () => logger
    }
    return logger
  }
}

/** The clock of a process: its timers die with it. */
export class MortalClock implements Clock {
  dead = false
  private readonly clock: Clock

  constructor (clock: Clock) { this.clock = clock }

  now (): number { return this.clock.now() }

  wallNs (): bigint { return this.clock.wallNs() }

  setTimer (callback: () => void, delayMs: number): Timer {
    return this.clock.setTimer(() => { if (!this.dead) callback() }, delayMs)
  }
}
