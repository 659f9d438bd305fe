import { AtollError } from '../fsnode/protocol/errors.ts'
import type { PlanSummary } from '../fsnode/protocol/manager.ts'
import { formatBytes } from './output.ts'

export function isOver ({ phase }: PlanSummary): boolean { return ['ended', 'aborted', 'replaced'].includes(phase) }

export function summaryLine ({ id, why, phase, moves, movesDone, bytes, bytesDone }: PlanSummary): string {
  return `plan ${id} (${why}) ${phase}: ${movesDone} of ${moves} moves, ${formatBytes(bytesDone)} of ${formatBytes(bytes)}`
}

/** Throws ATOLL_PLAN_NOT_DONE for a plan that is over and was not carried out as a whole. */
export function requireDone ({ id, phase, movesGivenUp }: PlanSummary): void {
  if (phase === 'ended' && movesGivenUp === 0) return
  throw new AtollError('ATOLL_PLAN_NOT_DONE', `plan ${id} ${phase}; ${movesGivenUp} moves were given up`, { hint: `see which: atoll partition plan ${id}` })
}
