import { AtollError, codeOf, messageOf } from '../../protocol/errors.ts'
import type { TransactionRequest, TransactionResponse } from '../../protocol/metadata.ts'
import { finishPatienceMs, finishRetryMsMax, finishRetryMsMin, prepareTimeoutMs } from '../constants.ts'
import type { Leader } from '../leader.ts'
import type { LiveSession } from '../live-session.ts'
import type { Outcome, Part, PartResult } from '../types.ts'
import { callPartition, refusal } from './call.ts'
import { claimsOf, sequenceOf, withHolders, type PrepareBody, type PreparedBody } from './messages.ts'

export interface Share { partition: string, parts: Part[] }

/** An operation across partitions, as planned from what was read without holding anything. */
export interface Plan {
  own: Part[]
  shares: Share[]
  /** The session has the inode open that loses its last name. */
  open: boolean
  /** Last checks while everything is prepared; a code refuses. */
  check?: () => Promise<string | null>
  /** Completes the own parts with what the shares' first results said. */
  complete?: (own: Part[], results: PartResult[][]) => Part[]
  outcome: (results: PartResult[][]) => Outcome
}

/** What the decision led to: results of the own parts, then of each share's. */
export interface Decided { outcome: Outcome, own: PartResult[], shares: PartResult[][] }

/** The leader's side of transactions that begin in this partition. */
export class Coordinator {
  private readonly leader: Leader

  constructor (leader: Leader) {
    this.leader = leader
  }

  /** What earlier leaders did not decide is aborted before anything is served. */
  async abortUndecided (): Promise<void> {
    for (const { id, role, state } of [...this.leader.store.transactions.all.values()]) {
      if (role === 'coordinator' && state === 'preparing') await this.leader.propose('decide-transaction', { id, commit: false, parts: [], participants: [] })
    }
  }

  /** What earlier leaders decided is told. */
  resume (): void {
    for (const { id, role, state, participants } of this.leader.store.transactions.all.values()) {
      if (role === 'coordinator' && state === 'committed') void this.tell(id, participants)
    }
  }

  outcome (id: string): TransactionResponse {
    const transaction = this.leader.store.transactions.get(id)
    if (transaction === undefined || transaction.role !== 'coordinator') return { outcome: 'aborted' }
    return { outcome: transaction.state === 'committed' ? 'committed' : 'prepared' }
  }

  /**
   * Prepares, decides, and answers under the intents on the own parts. Rejects with a POSIX code that the session
   * remembers, or ATOLL_CHANGED or ATOLL_BUSY: plan anew.
   */
  async run<T> (session: LiveSession, op: number, plan: Plan, answer: (decided: Decided) => T): Promise<T> {
    const { leader } = this
    const taken = await leader.acquire(session.id, () => claimsOf(plan.own))
    const happened = leader.pledges.hold(session.id, taken.intents)
    try {
      const own = withHolders(plan.own, taken.open, session.id, plan.open)
      const begun = await leader.propose('begin-transaction', { parts: own, session: session.id, op, coordinator: leader.components.group.id })
      const id = `${leader.init.index}.${begun.transaction!}`
      const shares = await this.prepareAll(id, session, plan)
      const decided = { outcome: plan.outcome(shares), own: begun.results!, shares }
      const participants = plan.shares.map(({ partition }) => partition)
      const parts = plan.complete?.(own, shares) ?? own
      await leader.propose('decide-transaction', { id, commit: true, parts, participants, outcome: decided.outcome })
      happened()
      await this.patiently(this.tell(id, participants))
      leader.requireLeading()
      return answer(decided)
    } finally {
      happened()
      leader.intents.release(taken.intents)
    }
  }

  private async prepareAll (id: string, session: LiveSession, plan: Plan): Promise<PartResult[][]> {
    const answers = await Promise.allSettled(plan.shares.map((share) => this.prepare(id, session, plan, share)))
    const failed = answers.find((answer) => answer.status === 'rejected')
    const code = failed !== undefined ? codeOf(failed.reason) : await this.checked(plan)
    if (code === null) return answers.map((answer) => (answer as PromiseFulfilledResult<PreparedBody>).value.results)
    await this.abort(id, plan, code)
    throw new AtollError(code, failed !== undefined ? messageOf(failed.reason) : code)
  }

  private async checked ({ check }: Plan): Promise<string | null> {
    try {
      return await check?.() ?? null
    } catch (error) {
      return codeOf(error)
    }
  }

  private async prepare (id: string, session: LiveSession, { open }: Plan, { partition, parts }: Share): Promise<PreparedBody> {
    const body: PrepareBody = { parts, session: session.id, open, watermark: this.watermark() }
    const answer = await this.send(partition, id, 'prepare', body, prepareTimeoutMs)
    if (answer.outcome === 'prepared') return answer.body as PreparedBody
    throw refusal(partition, answer, 'ATOLL_ABORTED')
  }

  private async abort (id: string, plan: Plan, code: string): Promise<void> {
    const { leader } = this
    leader.requireLeading()
    const outcome = code.startsWith('ATOLL_') ? undefined : { code }
    await leader.propose('decide-transaction', { id, commit: false, parts: [], participants: [], outcome }).catch((error: unknown) => {
      if (codeOf(error) !== code) throw error // the outcome itself is a failure
    })
    // Who does not hear it asks.
    for (const { partition } of plan.shares) this.send(partition, id, 'abort', null, finishPatienceMs).catch(() => {})
  }

  /** Tells every participant to commit until it has, for ever; then the transaction is over. */
  private async tell (id: string, participants: readonly string[]): Promise<void> {
    const { leader } = this
    try {
      await Promise.all(participants.map((partition) => this.tellOne(id, partition)))
      if (participants.length > 0) await leader.propose('end-transaction', { id })
    } catch (error) {
      // Only when another leads: it goes on.
      leader.components.log.debug('a decided transaction is left to the next leader', { transaction: id, error: messageOf(error) })
    }
  }

  private async tellOne (id: string, partition: string): Promise<void> {
    const { clock, log } = this.leader.components
    for (let delayMs = finishRetryMsMin; ; delayMs = Math.min(delayMs * 2, finishRetryMsMax)) {
      this.leader.requireLeading()
      try {
        await this.send(partition, id, 'commit', null, prepareTimeoutMs)
        return
      } catch (error) {
        log.debug('a participant cannot be told yet', { transaction: id, partition, error: messageOf(error) })
      }
      await new Promise<void>((resolve) => { clock.setTimer(resolve, delayMs) })
    }
  }

  private send (partition: string, transaction: string, step: TransactionRequest['step'], body: unknown, patienceMs: number): Promise<TransactionResponse> {
    return callPartition(this.leader, partition, { step, transaction, body }, { patienceMs, timeoutMs: patienceMs })
  }

  /** Usually the participants have it before the client hears; if not, their intents make readers wait. */
  private patiently (telling: Promise<void>): Promise<void> {
    const { clock } = this.leader.components
    return new Promise((resolve) => {
      const timer = clock.setTimer(resolve, finishPatienceMs)
      void telling.then(() => {
        timer.cancel()
        resolve()
      })
    })
  }

  /** The lowest number of a transaction that is not over. */
  private watermark (): number {
    const { store } = this.leader
    let lowest = store.counters.nextTransaction
    for (const { id, role } of store.transactions.all.values()) if (role === 'coordinator') lowest = Math.min(lowest, sequenceOf(id))
    return lowest
  }
}
