import type { MetadataStore } from '../store.ts'
import type { Outcome, Session } from '../types.ts'

/** What an operation's apply side may look at. Everything else is in its arguments. */
export interface Context {
  store: MetadataStore
  /** Index of the metadata partition. */
  partition: number
  inlineBytesMax: number
  /** The proposer's time, ns since the epoch. */
  now: bigint
  /** Whose operation it is; null for the leader's own. */
  session: Session | null
  op: number
}

export const done: Outcome = Object.freeze({})

const failures = new Map<string, Outcome>()

/** Codes that start with ATOLL_ are not remembered: the operation may be tried again. */
export function failure (code: string): Outcome {
  let known = failures.get(code)
  if (known === undefined) {
    known = Object.freeze({ code })
    failures.set(code, known)
  }
  return known
}
