import type { Clock } from '../fsnode/protocol/ports.ts'
import type { OperationContext } from './types.ts'

/** Mutations that one operation of the caller may need. */
export const stepsPerOperation = 16
/** Numbers below are derived from the caller's operation ids, numbers from here on are this client's own. */
export const ownNumbersFrom = 2 ** 52
const ownNumbersPerMs = 1_024

/**
 * Numbers mutations within a session. An operation with an id gives `id * 16 + step`, the same after
 * a restart, so that a repeated request finds its first outcome. All others count up from a number
 * made of the wall clock, so that a process which takes over a session does not use a number again:
 * that holds while fewer than 1,024 mutations a millisecond are made and the clock is not set back.
 */
export class OperationNumbers {
  private own: number

  constructor (clock: Clock) {
    const wallMs = Number(clock.wallNs() / 1_000_000n)
    this.own = ownNumbersFrom + (wallMs * ownNumbersPerMs) % (2 ** 51)
  }

  next (context?: OperationContext, step = 0): number {
    const id = context?.operationId
    return id === undefined ? this.own++ : (id * stepsPerOperation + step) % ownNumbersFrom
  }
}
