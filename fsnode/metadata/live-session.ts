import type { Peer, Reply } from '../protocol/peer.ts'
import { leaseDurationMs } from './constants.ts'

/** What a leader knows of a session beyond the replicated state. */
export class LiveSession {
  readonly id: string
  /** The connection on which leases are recalled; null: none since this leader began. */
  peer: Peer | null = null
  /** On the leader's clock. */
  expiresAt: number
  /** Its time is over. What it holds is still held, until somebody wants it. */
  overdue = false
  /** An overdue one has sent something: what to await before it is served. */
  returning: Promise<void> | null = null
  /** Recalls that wait for it. */
  recalls = 0
  /** Its requests are refused; what it held is still held until `over`. */
  ended = false
  /** What it held is nobody's any more. */
  forgotten = false
  /** Resolves when what it held is nobody's any more, or this leader leads no more. */
  over: Promise<void> = Promise.resolve()
  /** Mutations under way: a retry that comes meanwhile waits for the same answer. */
  readonly inFlight = new Map<number, Promise<Reply<any>>>()
  /** Its own changes: each request after the one before. */
  stream: Promise<unknown> = Promise.resolve()
  private readonly listeners = new Set<() => void>()

  constructor (id: string, now: number) {
    this.id = id
    this.expiresAt = now + leaseDurationMs
  }

  /** A request of the session has arrived. */
  touch (now: number, peer: Peer): void {
    this.expiresAt = now + leaseDurationMs
    if (this.peer === peer || (this.peer !== null && !this.peer.closed)) return
    this.attach(peer)
  }

  /** Recalls go there from now on. */
  attach (peer: Peer): void {
    if (this.peer === peer) return
    this.peer = peer
    this.notify()
  }

  end (): void {
    this.ended = true
    this.notify()
  }

  /** Called when the session gets another connection or ends. */
  onChange (listener: () => void): () => void {
    this.listeners.add(listener)
    return () => { this.listeners.delete(listener) }
  }

  private notify (): void {
    for (const listener of [...this.listeners]) listener()
  }
}
