import { defaultLimits, defaultTiming, type RaftLimits, type RaftTiming } from '../../fsnode/raft/constants.ts'
import { RaftLog } from '../../fsnode/raft/core/log.ts'
import { createState } from '../../fsnode/raft/core/state.ts'
import { step } from '../../fsnode/raft/core/step.ts'
import { entryKind, type AppendRequest, type Effects, type Entry, type Envelope, type Input, type RaftMessage, type RaftState } from '../../fsnode/raft/core/types.ts'

export interface CoreInit {
  members?: string[]
  /** Terms of the entries on disk, from index 1 on. */
  terms?: number[]
  term?: number
  vote?: string | null
  now?: number
  fresh?: boolean
  timing?: Partial<RaftTiming>
  limits?: Partial<RaftLimits>
  jitter?: number
}

export function entryOf (index: number, term: number, data = `${index}.${term}`): Entry {
  return { index, term, kind: entryKind.command, data: Buffer.from(data) }
}

/** A core on its own. Time passes as told; writes are done when told. */
export class Core {
  readonly state: RaftState
  readonly id: string
  now: number
  /** What left, in order. */
  sent: Envelope[] = []
  snapshots: string[] = []
  reads: Effects['reads'] = []
  changes: Array<Effects['change']> = []
  chunks: Array<Effects['chunk']> = []
  /** Writes under way, with the messages that wait for them. */
  readonly unwritten: Array<{ sequence: number, messages: Envelope[] }> = []
  /** Writes reach the disk at once. */
  autoWrite = true

  constructor (id: string, init: CoreInit = {}) {
    const { members = ['a', 'b', 'c'], terms = [], term = terms.at(-1) ?? 0, vote = null, now = 100_000, fresh = false, timing, limits, jitter = 0.5 } = init
    this.id = id
    this.now = now
    const log = new RaftLog({ index: 0, term: 0 }, limits?.cacheBytesMax ?? defaultLimits.cacheBytesMax)
    terms.forEach((entryTerm, position) => { log.append(entryOf(position + 1, entryTerm)) })
    this.state = createState({
      self: id, timing: { ...defaultTiming, ...timing }, limits: { ...defaultLimits, ...limits }, random: () => jitter, now,
      hardState: { term, vote }, log, commitIndex: 0, memberHistory: [{ index: 0, members }], needsSnapshot: false, fresh
    })
  }

  get terms (): number[] {
    const { log } = this.state
    return Array.from({ length: log.length }, (_, position) => log.termAt(log.markIndex + 1 + position)!)
  }

  do (input: Input extends infer I ? I extends { now: number } ? Omit<I, 'now'> : never : never): Effects {
    const effects = step(this.state, { ...input, now: this.now } as Input)
    this.sent.push(...effects.messages)
    this.snapshots.push(...effects.snapshots)
    this.reads.push(...effects.reads)
    if (effects.change !== null) this.changes.push(effects.change)
    if (effects.chunk !== null) this.chunks.push(effects.chunk)
    if (effects.write !== null) this.unwritten.push({ sequence: effects.write.sequence, messages: effects.afterWrite })
    else if (effects.afterWrite.length > 0) throw new Error('messages wait for a write that is not')
    if (this.autoWrite) this.write()
    return effects
  }

  /** The writes under way reach the disk. */
  write (): void {
    for (let next = this.unwritten.shift(); next !== undefined; next = this.unwritten.shift()) {
      this.sent.push(...next.messages)
      this.do({ type: 'persisted', sequence: next.sequence })
    }
  }

  tick (afterMs = 0): Effects {
    this.now += afterMs
    return this.do({ type: 'tick' })
  }

  /** Time passes tick by tick, as in a process that does not stall. */
  pass (durationMs: number): void {
    for (let passed = 0; passed < durationMs; passed += 50) this.tick(50)
  }

  propose (...commands: string[]): Effects {
    return this.do({ type: 'propose', commands: commands.map((command) => Buffer.from(command)) })
  }

  receive (from: string, message: RaftMessage): Effects {
    return this.do({ type: 'message', from, message })
  }

  /** What was sent since the last call. */
  take (): Envelope[] {
    const { sent } = this
    this.sent = []
    return sent
  }

  /** The appends in what was sent since the last call. */
  takeAppends (to?: string): AppendRequest[] {
    return this.take().filter((envelope) => to === undefined || envelope.to === to).map(({ message }) => message).filter((message) => message.type === 'append')
  }
}

/** Several cores and the messages between them. */
export class CoreNet {
  readonly cores = new Map<string, Core>()
  /** Messages from or to these are lost. */
  readonly cut = new Set<string>()

  constructor (cores: Core[]) {
    for (const core of cores) this.cores.set(core.id, core)
  }

  get (id: string): Core { return this.cores.get(id)! }

  /** Delivers until nothing is under way. */
  settle (): void {
    for (let round = 0; round < 10_000; round++) {
      let quiet = true
      for (const core of this.cores.values()) {
        for (const { to, message } of core.take()) {
          quiet = false
          if (this.cut.has(core.id) || this.cut.has(to)) continue
          this.cores.get(to)?.receive(core.id, message)
        }
      }
      if (quiet) return
    }
    throw new Error('the messages do not end')
  }

  pass (durationMs: number): void {
    for (let passed = 0; passed < durationMs; passed += 50) {
      for (const core of this.cores.values()) core.tick(50)
      this.settle()
    }
  }

  /** Makes a core campaign, and win if it can. */
  elect (id: string): Core {
    const core = this.get(id)
    for (const other of this.cores.values()) other.state.heardAt = -Infinity
    core.state.electionDeadline = core.now
    core.tick()
    this.settle()
    return core
  }
}
