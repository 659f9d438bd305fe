import type { Outcome, Part, Transaction } from '../types.ts'
import { type Context, done, failure } from './context.ts'
import { executePart, partFault, preparePart } from './parts.ts'

/** Two-phase commit, as each partition's log sees it; docs/metadata.md has the whole protocol. */

export interface BeginArgs {
  parts: Part[]
  /** Whose operation it is: its failure is remembered. */
  session: string
  op: number
  /** This partition's id. */
  coordinator: string
}

/** The coordinator's own parts are checked, and the transaction has a number. */
export function beginTransaction (context: Context, { parts, session, op, coordinator }: BeginArgs): Outcome {
  const { store, partition, now } = context
  const owner = store.sessions.get(session)
  if (owner === undefined) return failure('ATOLL_SESSION_EXPIRED')
  const fault = faultOf(context, parts)
  if (fault !== null) return concluded(context, session, op, failure(fault))
  const sequence = store.counters.nextTransaction++
  const id = `${partition}.${sequence}`
  const results = parts.map((part) => preparePart(context, part))
  store.transactions.put(id, { id, role: 'coordinator', state: 'preparing', parts, participants: [], coordinator, session, op, results, at: now })
  return { transaction: sequence, results }
}

export interface DecideArgs {
  id: string
  commit: boolean
  /** The own parts with what the participants answered filled in. */
  parts: Part[]
  participants: string[]
  /** What the session gets and remembers; absent: nothing, the operation may be tried again. */
  outcome?: Outcome
}

/** The decision, and with it the coordinator's own parts. After an abort nothing needs to be kept: what is unknown is aborted. */
export function decideTransaction (context: Context, { id, commit, parts, participants, outcome }: DecideArgs): Outcome {
  const { store } = context
  const transaction = store.transactions.get(id)
  if (transaction?.state !== 'preparing') return failure('ATOLL_ABORTED')
  if (commit) for (const part of parts) executePart(context, part, transaction.at)
  if (commit && participants.length > 0) store.transactions.put(id, { ...transaction, state: 'committed', parts: [], results: [], participants })
  else store.transactions.delete(id)
  return outcome === undefined ? done : concluded(context, transaction.session, transaction.op, outcome)
}

export interface EndArgs { id: string }

/** Every participant has confirmed. */
export function endTransaction ({ store }: Context, { id }: EndArgs): Outcome {
  store.transactions.delete(id)
  return done
}

export interface PrepareArgs {
  id: string
  coordinator: string
  coordinatorIndex: number
  sequence: number
  /** Every transaction of this coordinator with a lower number is over. */
  watermark: number
  parts: Part[]
  session: string
}

export function prepareTransaction (context: Context, args: PrepareArgs): Outcome {
  const { store, now } = context
  const { id, coordinator, parts, session } = args
  raiseWatermark(context, args)
  // A message that was overtaken by the end of its own transaction.
  if (args.sequence < (store.watermarks.get(args.coordinatorIndex) ?? 0)) return failure('ATOLL_ABORTED')
  const known = store.transactions.get(id)
  if (known !== undefined) return known.state === 'prepared' ? { results: known.results } : failure('ATOLL_ABORTED')
  const fault = faultOf(context, parts)
  if (fault !== null) return failure(fault)
  const results = parts.map((part) => preparePart(context, part))
  store.transactions.put(id, { id, role: 'participant', state: 'prepared', parts, participants: [], coordinator, session, op: 0, results, at: now })
  return { results }
}

export interface FinishArgs { id: string, commit: boolean }

/** The decision reaches a participant. A committed one is remembered until the watermark passes it, so that a late 'prepare' does not do it again. */
export function finishTransaction (context: Context, { id, commit }: FinishArgs): Outcome {
  const { store } = context
  const transaction = store.transactions.get(id)
  if (transaction?.state !== 'prepared') return done
  if (!commit) {
    store.transactions.delete(id)
    return done
  }
  for (const part of transaction.parts) executePart(context, part, transaction.at)
  store.transactions.put(id, { ...transaction, state: 'done', parts: [], results: [] })
  return done
}

export interface ConcludeArgs { outcome: Outcome }

/** A session's operation that turned out to change nothing. */
export function conclude (_: Context, { outcome }: ConcludeArgs): Outcome { return outcome }

function raiseWatermark ({ store }: Context, { coordinatorIndex, watermark }: PrepareArgs): void {
  if (watermark <= (store.watermarks.get(coordinatorIndex) ?? 0)) return
  store.watermarks.put(coordinatorIndex, watermark)
  for (const transaction of [...store.transactions.all.values()]) {
    if (transaction.state === 'done' && isOver(transaction, coordinatorIndex, watermark)) store.transactions.delete(transaction.id)
  }
}

function isOver ({ id }: Transaction, coordinatorIndex: number, watermark: number): boolean {
  const [index, sequence] = id.split('.').map(Number) as [number, number]
  return index === coordinatorIndex && sequence < watermark
}

function faultOf (context: Context, parts: Part[]): string | null {
  for (const part of parts) {
    const fault = partFault(context, part)
    if (fault !== null) return fault
  }
  return null
}

function concluded ({ store }: Context, sessionId: string, op: number, outcome: Outcome): Outcome {
  const session = store.sessions.get(sessionId)
  const isFinal = outcome.code === undefined || !outcome.code.startsWith('ATOLL_')
  if (session !== undefined && isFinal && !session.results.has(op)) store.remember(session, op, outcome)
  return outcome
}
