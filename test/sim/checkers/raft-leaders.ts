import type { RaftMessage } from '../../../fsnode/raft/core/types.ts'

const leadersOnly = new Set<RaftMessage['type']>(['append', 'snapshot', 'timeoutNow'])

/** Nobody but the one leader of a term sends what leaders send. */
export class RaftLeaders {
  private readonly leaders = new Map<string, string>()
  private readonly onViolation: (what: string) => void

  constructor (onViolation: (what: string) => void) { this.onViolation = onViolation }

  sent (from: string, group: string, { type, term }: RaftMessage): void {
    if (!leadersOnly.has(type)) return
    const key = `${group} ${term}`
    const known = this.leaders.get(key)
    if (known === undefined) this.leaders.set(key, from)
    else if (known !== from) this.onViolation(`${from} and ${known} both lead ${group} in term ${term}`)
  }

  /** Terms in which somebody led, over all groups. */
  get terms (): number { return this.leaders.size }
}
