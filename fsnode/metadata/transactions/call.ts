import { AtollError, codeOf, isRetryable, messageOf } from '../../protocol/errors.ts'
import type { TransactionRequest, TransactionResponse } from '../../protocol/metadata.ts'
import type { Leader } from '../leader.ts'

export interface Message extends Pick<TransactionRequest, 'step' | 'body'> {
  /** @default '', for what belongs to none. */
  transaction?: string
}

/** What the leader of another partition answers to a message. */
export async function callPartition (
  leader: Leader, partition: string, { step, transaction = '', body }: Message, options: { timeoutMs?: number, patienceMs?: number }
): Promise<TransactionResponse> {
  const { router, group } = leader.components
  try {
    return (await router.toMetadata(partition, 'meta.transaction', { partition, transaction, step, coordinator: group.id, body }, options)).body
  } catch (error) {
    leader.requireLeading()
    throw asOurs(partition, error)
  }
}

/** A refusal by another partition. @param otherwise The code of one that has none. */
export function refusal (partition: string, { outcome, code }: TransactionResponse, otherwise: string): unknown {
  return asOurs(partition, new AtollError(code ?? otherwise, `partition ${partition} refuses: ${code ?? outcome}`))
}

/**
 * That the other partition is led elsewhere, or that its answer was lost, says nothing about this one: whoever asked here would look for this partition's
 * leader where the other's is, or hold an outcome for unknown that is known.
 */
function asOurs (partition: string, error: unknown): unknown {
  return isRetryable(error) ? new AtollError('ATOLL_UNAVAILABLE', `partition ${partition} does not answer: ${codeOf(error)} ${messageOf(error)}`) : error
}
