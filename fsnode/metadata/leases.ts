import type { LeaseMode } from '../protocol/metadata.ts'

/** open: nothing may be cached, but the session said that it has the file open. */
export type Held = 'open' | LeaseMode

export interface Lease { session: string, held: Held }

const none: readonly Lease[] = []

/** Who may cache what, as one leader granted it. Knows nothing of time, messages or the replicated state. */
export class LeaseTable {
  private readonly byInode = new Map<number, Lease[]>()
  private readonly bySession = new Map<string, Set<number>>()
  private total = 0

  get size (): number { return this.total }

  holders (ino: number): readonly Lease[] { return this.byInode.get(ino) ?? none }

  of (session: string, ino: number): Held | undefined {
    const leases = this.byInode.get(ino)
    if (leases === undefined) return undefined
    for (const lease of leases) if (lease.session === session) return lease.held
    return undefined
  }

  /** Whether another session's lease stands against this one. */
  conflicts (session: string, ino: number, mode: LeaseMode): boolean {
    for (const lease of this.holders(ino)) {
      if (lease.session !== session && (lease.held === 'exclusive' || (mode === 'exclusive' && lease.held === 'shared'))) return true
    }
    return false
  }

  /** Never lowers what the session has. The caller has seen to conflicts. */
  grant (session: string, ino: number, mode: LeaseMode): void {
    const leases = this.byInode.get(ino)
    if (leases === undefined) {
      this.byInode.set(ino, [{ session, held: mode }])
    } else {
      const known = leases.find((lease) => lease.session === session)
      if (known !== undefined) {
        if (known.held !== 'exclusive') known.held = mode
        return
      }
      leases.push({ session, held: mode })
    }
    this.inodesOf(session).add(ino)
    this.total++
  }

  /** After an answered recall. */
  lower (session: string, ino: number, to: 'none' | 'shared', open: boolean): void {
    const lease = this.byInode.get(ino)?.find((candidate) => candidate.session === session)
    if (lease === undefined) return
    if (to === 'shared') {
      if (lease.held === 'exclusive') lease.held = 'shared'
    } else if (open) {
      lease.held = 'open'
    } else {
      this.release(session, ino)
    }
  }

  release (session: string, ino: number): void {
    const leases = this.byInode.get(ino)
    const at = leases?.findIndex((lease) => lease.session === session) ?? -1
    if (leases === undefined || at < 0) return
    leases.splice(at, 1)
    if (leases.length === 0) this.byInode.delete(ino)
    this.bySession.get(session)?.delete(ino)
    this.total--
  }

  dropSession (session: string): void {
    for (const ino of [...(this.bySession.get(session) ?? [])]) this.release(session, ino)
    this.bySession.delete(session)
  }

  /** Up to `count` leases that were granted longest ago and can be recalled. */
  oldest (count: number): Array<{ session: string, ino: number }> {
    const found: Array<{ session: string, ino: number }> = []
    for (const [ino, leases] of this.byInode) {
      for (const { session, held } of leases) if (held !== 'open') found.push({ session, ino })
      if (found.length >= count) break
    }
    return found
  }

  private inodesOf (session: string): Set<number> {
    let inodes = this.bySession.get(session)
    if (inodes === undefined) {
      inodes = new Set()
      this.bySession.set(session, inodes)
    }
    return inodes
  }
}
