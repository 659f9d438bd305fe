import type { NodeSpec } from '../../../fsnode/protocol/node-spec.ts'
import type { ProcessExit } from '../../../scheduler/local/core/effects.ts'
import type { ProcessIdentity } from '../../../scheduler/local/core/state.ts'
import type { Ending } from '../disk.ts'
import type { SimNode } from '../node.ts'

export type AgentPresence = 'registered' | 'hanging' | 'away'

/** The process of a task, from the gate before which it waits (scheduler/local/agent/agent.ts) to its end. */
interface TaskProcess { identity: ProcessIdentity, volume: string, released: boolean }

/** An agent's machine with one volume: what of a task outlives the agent's process. */
export class SimMachine {
  readonly node: SimNode
  readonly agentId: string
  powered = true
  /** What the master hears of the agent: while it is away, what concerns the machine waits. */
  presence: AgentPresence = 'registered'
  process: TaskProcess | null = null
  launches = 0
  /** The agent of the moment: told of the end of a process, and of what the master hears. */
  onExit: (identity: ProcessIdentity, exit: ProcessExit) => void = () => {}
  onPresence: () => void = () => {}
  private readonly onViolation: (what: string) => void
  private pids = 100
  private boots = 1
  /** Of the node whose volume this is. */
  private volume: string | null = null

  constructor (node: SimNode, agentId: string, onViolation: (what: string) => void) {
    this.node = node
    this.agentId = agentId
    this.onViolation = onViolation
    node.onEnd = (ending) => { this.ended(ending) }
    node.recover = () => { this.power() }
  }

  get host (): string { return this.node.host }

  /** A process that waits at its gate. */
  spawn (volume: string): ProcessIdentity {
    if (this.process !== null) this.onViolation(`two tasks at once on ${this.host}, with the volumes ${this.process.volume} and ${volume}`)
    const identity: ProcessIdentity = { pid: this.pids++, startTime: `${this.host}.${this.boots}` }
    this.process = { identity, volume, released: false }
    return identity
  }

  /** The process becomes the storage node. */
  release (identity: ProcessIdentity, spec: NodeSpec): void {
    const { process } = this
    if (!this.runs(identity) || process!.released) return
    process!.released = true
    this.launches++
    if (this.volume !== null && this.volume !== process!.volume) this.onViolation(`${spec.nodeId} was given the volume ${process!.volume} in place of ${this.volume}`)
    this.volume = process!.volume
    this.node.start(spec)
  }

  /** Whoever held its gate is gone: what has not been released ends. */
  abandon (identity: ProcessIdentity): void {
    if (this.runs(identity) && !this.process!.released) this.process = null
  }

  runs ({ pid, startTime }: ProcessIdentity): boolean { return this.process?.identity.pid === pid && this.process.identity.startTime === startTime }

  terminate (identity: ProcessIdentity): void {
    if (!this.runs(identity)) return
    if (this.process!.released) void this.node.stop()
    else this.exited({ signal: 'SIGTERM' })
  }

  kill (identity: ProcessIdentity): void {
    if (!this.runs(identity)) return
    if (this.process!.released) this.node.end('kill')
    else this.exited({ signal: 'SIGKILL' })
  }

  /** The power is there again. */
  power (): void {
    if (this.powered) return
    this.powered = true
    this.boots++
    this.hear('registered')
  }

  /** The agent is cut off from its master, or hangs, or is back; its task runs on. */
  hear (presence: AgentPresence): void {
    if (!this.powered || this.presence === presence) return
    this.presence = presence
    this.onPresence()
  }

  private ended (ending: Ending | 'stopped'): void {
    if (ending === 'power') {
      this.process = null
      this.hear('away')
      this.powered = false
    } else if (this.process?.released === true) {
      this.exited(ending === 'stopped' ? { status: 0 } : { signal: 'SIGKILL' })
    }
  }

  private exited (exit: ProcessExit): void {
    const { identity } = this.process!
    this.process = null
    this.onExit(identity, exit)
  }
}
