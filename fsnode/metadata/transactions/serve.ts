import { AtollError } from '../../protocol/errors.ts'
import type { TransactionRequest, TransactionResponse } from '../../protocol/metadata.ts'
import type { Leader } from '../leader.ts'
import type { QueryBody } from './messages.ts'
import { answerQuery } from './queries.ts'

/** One message of another partition's leader. */
export async function serveTransaction (leader: Leader, request: TransactionRequest): Promise<TransactionResponse> {
  switch (request.step) {
    case 'prepare':
      return leader.participant.prepare(request)
    case 'commit':
    case 'abort':
      return leader.participant.finish(request.transaction, request.step === 'commit')
    case 'outcome':
      await leader.barrier()
      leader.requireLeading()
      return leader.coordinator.outcome(request.transaction)
    case 'query':
      await leader.barrier()
      leader.requireLeading()
      return answerQuery(leader, request.body as QueryBody)
    default:
      throw new AtollError('ATOLL_BAD_MESSAGE', `not a step of a transaction: ${String(request.step)}`)
  }
}
