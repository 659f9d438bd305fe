import { decode } from '../protocol/frame.ts'
import { messageOf } from '../protocol/errors.ts'
import type { Logger } from '../protocol/ports.ts'
import type { CommittedEntry, StateMachine } from '../raft/types.ts'
import { streamOperation, type CommandName, type CommandTuple } from './command.ts'
import { type Context, failure } from './operations/context.ts'
import { operations } from './operations/index.ts'
import { readSnapshot, writeSnapshot } from './snapshot.ts'
import { MetadataStore, type StoreComponents } from './store.ts'
import type { Outcome } from './types.ts'

export interface StateMachineInit {
  /** Index of the metadata partition in its volume. */
  index: number
  /** Files up to this size may live in their inode record. */
  inlineBytesMax: number
}

/**
 * The replicated state of one metadata partition. `apply` answers at once from memory and the Kv;
 * the Kv, which holds nothing else, follows in unsynced batches.
 */
export class MetadataStateMachine implements StateMachine {
  private readonly components: StoreComponents
  private readonly init: StateMachineInit
  private readonly log: Logger
  private current: MetadataStore
  private durable: number
  private readonly context: Context

  private constructor (components: StoreComponents, init: StateMachineInit, store: MetadataStore) {
    this.components = components
    this.init = init
    this.log = components.log
    this.current = store
    this.durable = store.applied.index
    this.context = { store, partition: init.index, inlineBytesMax: init.inlineBytesMax, now: 0n, session: null, op: 0 }
  }

  static async open (components: StoreComponents, init: StateMachineInit): Promise<MetadataStateMachine> {
    return new MetadataStateMachine(components, init, await MetadataStore.open(components))
  }

  /** Replaced as a whole by `restore`. */
  get store (): MetadataStore { return this.current }

  get index (): number { return this.init.index }

  get appliedIndex (): number { return this.current.applied.index }

  get durableIndex (): number { return this.durable }

  apply (entry: CommittedEntry): unknown {
    const { applied, writer } = this.current
    if (entry.index <= applied.index) return undefined // replayed after a restart
    const outcome = entry.command.length === 0 ? undefined : this.execute(entry.command)
    applied.index = entry.index
    applied.term = entry.term
    writer.touched()
    return outcome
  }

  async flush (): Promise<void> {
    const { store } = this
    await store.writer.write(true, () => { this.durable = Math.max(this.durable, store.written.index) })
  }

  async snapshot (): Promise<{ index: number, term: number, chunks: AsyncIterable<Uint8Array> }> {
    return writeSnapshot(this.current)
  }

  async restore (snapshot: { index: number, term: number, chunks: AsyncIterable<Uint8Array> }): Promise<void> {
    // If the stream is cut short the old state goes on, as of this moment.
    await this.current.writer.write(false, () => {})
    await this.current.writer.close()
    try {
      await readSnapshot(this.components.kv, this.current.keys.generation, snapshot)
      this.durable = snapshot.index
    } finally {
      this.current = await MetadataStore.open(this.components)
      this.context.store = this.current
    }
    this.log.info('restored a snapshot', { index: snapshot.index })
  }

  /** No more writes to the Kv; what it lacks is replayed from the log. */
  close (): Promise<void> { return this.current.writer.close() }

  private execute (command: Uint8Array): Outcome {
    let name: CommandName | undefined
    try {
      const [given, now, sessionId, op, args] = decode(command) as CommandTuple
      name = given
      const operation = operations[name]
      if (operation === undefined) return failure('ATOLL_UNKNOWN_COMMAND')
      const { context } = this
      context.now = now
      context.op = op
      context.session = null
      return sessionId === '' ? operation(context, args as never) : this.executeOnce(sessionId, op, operation, args)
    } catch (error) {
      // The same on each replica: it depends on the command and the state alone.
      this.log.error('a command failed', { command: name, error: messageOf(error) })
      return failure('ATOLL_INTERNAL')
    }
  }

  /** A session's operation: the first outcome is the only one. */
  private executeOnce (sessionId: string, op: number, operation: (context: Context, args: never) => Outcome, args: unknown): Outcome {
    const { context } = this
    const { store } = context
    const session = store.sessions.get(sessionId)
    if (session === undefined) return failure('ATOLL_SESSION_EXPIRED')
    context.session = session
    if (op === streamOperation) return operation(context, args as never)
    const remembered = session.results.get(op)
    if (remembered !== undefined) return remembered.outcome
    const outcome = operation(context, args as never)
    if (outcome.code === undefined || !outcome.code.startsWith('ATOLL_')) store.remember(session, op, outcome)
    return outcome
  }
}
