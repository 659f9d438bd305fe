import { codeOf, messageOf } from '../../protocol/errors.ts'
import type { TransactionRequest, TransactionResponse } from '../../protocol/metadata.ts'
import type { Timer } from '../../protocol/ports.ts'
import { finishRetryMsMax, outcomeCheckMs, prepareWaitMs } from '../constants.ts'
import { intentsOf, type Leader } from '../leader.ts'
import type { Intent } from '../intents.ts'
import type { Transaction } from '../types.ts'
import { callPartition } from './call.ts'
import { claimsOf, coordinatorIndexOf, sequenceOf, withHolders, type PrepareBody, type PreparedBody } from './messages.ts'

interface Held { intents: Intent[], happened: () => void, timer: Timer | null, checks: number }

/** The leader's side of transactions that other partitions coordinate. */
export class Participant {
  private readonly leader: Leader
  /** Prepared, or about to be; what each of them keeps others from. */
  private readonly held = new Map<string, Held>()
  private readonly preparing = new Map<string, Promise<TransactionResponse>>()

  constructor (leader: Leader) {
    this.leader = leader
  }

  /** Holds on to what earlier leaders prepared, and asks for its outcome. */
  resume (): void {
    for (const transaction of this.leader.store.transactions.all.values()) {
      if (transaction.state !== 'prepared') continue
      const intents = intentsOf(claimsOf(transaction.parts))
      for (const { key, mode } of intents) this.leader.intents.hold(key, mode)
      this.hold(transaction, intents)
    }
  }

  stop (): void {
    for (const { timer } of this.held.values()) timer?.cancel()
    this.held.clear()
  }

  prepare (request: TransactionRequest): Promise<TransactionResponse> {
    const known = this.preparing.get(request.transaction)
    if (known !== undefined) return known
    const preparing = this.tryPrepare(request).finally(() => { this.preparing.delete(request.transaction) })
    this.preparing.set(request.transaction, preparing)
    return preparing
  }

  /** Also answers for a transaction that is not known: it is over. */
  async finish (id: string, commit: boolean): Promise<TransactionResponse> {
    await this.preparing.get(id)?.catch(() => {})
    const parts = this.leader.store.transactions.get(id)?.parts ?? []
    await this.leader.propose('finish-transaction', { id, commit })
    for (const part of parts) if (part.kind === 'links' || part.kind === 'remove-directory') this.leader.dropLeasesIfGone(part.ino)
    this.letGo(id)
    return { outcome: commit ? 'committed' : 'aborted' }
  }

  private async tryPrepare (request: TransactionRequest): Promise<TransactionResponse> {
    const { leader } = this
    const { transaction: id, coordinator } = request
    const known = leader.store.transactions.get(id)
    if (known?.state === 'prepared') return prepared(known)
    const { parts, session, open, watermark } = request.body as PrepareBody
    try {
      // What others hold from before this leader is to be given up as well.
      await leader.sessions.admission(session)
      const taken = await leader.acquire(session, () => claimsOf(parts), prepareWaitMs)
      try {
        await leader.propose('prepare-transaction', {
          id, coordinator, coordinatorIndex: coordinatorIndexOf(id), sequence: sequenceOf(id), watermark, session,
          parts: withHolders(parts, taken.open, session, open)
        })
      } catch (error) {
        leader.intents.release(taken.intents)
        throw error
      }
      const transaction = leader.store.transactions.get(id)!
      this.holdMade(transaction, taken.intents)
      this.hold(transaction, taken.intents)
      return prepared(transaction)
    } catch (error) {
      leader.requireLeading()
      return { outcome: 'refused', code: codeOf(error) }
    }
  }

  /** A directory that was given its number just now is not there for anybody until the decision. */
  private holdMade ({ parts }: Transaction, intents: Intent[]): void {
    for (const part of parts) {
      if (part.kind !== 'create') continue
      this.leader.intents.hold(part.ino, 'write')
      intents.push({ key: part.ino, mode: 'write' })
    }
  }

  private hold ({ id, session }: Transaction, intents: Intent[]): void {
    const held: Held = { intents, happened: this.leader.pledges.hold(session, intents), timer: null, checks: 0 }
    this.held.set(id, held)
    this.checkLater(id, held)
  }

  private letGo (id: string): void {
    const held = this.held.get(id)
    if (held === undefined) return
    held.timer?.cancel()
    this.held.delete(id)
    held.happened()
    this.leader.intents.release(held.intents)
  }

  /** A coordinator that fell silent may have forgotten us; its next leader knows, or knows nothing, which means no. */
  private checkLater (id: string, held: Held): void {
    const delayMs = Math.min(outcomeCheckMs * 2 ** Math.min(held.checks++, 16), Math.max(outcomeCheckMs, finishRetryMsMax))
    held.timer = this.leader.components.clock.setTimer(() => { void this.check(id, held) }, delayMs)
  }

  private async check (id: string, held: Held): Promise<void> {
    const { log } = this.leader.components
    const transaction = this.leader.store.transactions.get(id)
    if (transaction?.state !== 'prepared' || this.leader.hasEnded) return
    try {
      const { outcome } = await callPartition(this.leader, transaction.coordinator, { step: 'outcome', transaction: id, body: null }, { patienceMs: outcomeCheckMs })
      if (this.held.get(id) !== held || this.leader.hasEnded) return
      if (outcome === 'committed' || outcome === 'aborted') {
        await this.finish(id, outcome === 'committed')
        return
      }
    } catch (error) {
      log.debug('the outcome of a transaction is not known yet', { transaction: id, error: messageOf(error) })
    }
    if (this.held.get(id) === held && !this.leader.hasEnded) this.checkLater(id, held)
  }
}

function prepared ({ results }: Transaction): TransactionResponse {
  const body: PreparedBody = { results }
  return { outcome: 'prepared', body }
}

