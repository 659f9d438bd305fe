import { codeOf } from '../protocol/errors.ts'
import type { RecallRequest, RecallResponse } from '../protocol/metadata.ts'
import type { Peer } from '../protocol/peer.ts'
import type { Clock, Logger } from '../protocol/ports.ts'
import { recallMsMax } from './constants.ts'
import type { LeaseTable } from './leases.ts'
import type { LiveSession } from './live-session.ts'

export interface RecallsComponents {
  clock: Clock
  log: Logger
  leases: LeaseTable
  /** One that does not give up what it must loses everything. */
  sessions: { get: (id: string) => LiveSession | undefined, end: (session: LiveSession, reason: string, trustedUntilMs?: number) => Promise<void> }
}

interface Attempt { session: LiveSession, peer: Peer, deadline: number }

interface Pending { to: 'none' | 'shared', answer: Promise<boolean> }

/**
 * Promise turns, generously, from the moment in which a lease is granted to that in which the answer is handed to the
 * connection. A recall is sent later than that, so that a client learns of a lease before it is to give it up.
 */
const answerTurns = 32

const closed = { open: false }

/** Asks sessions to give up leases and waits for them, or for the end of their time. */
export class Recalls {
  private readonly components: RecallsComponents
  private readonly partition: string
  private readonly pending = new Map<string, Pending>()

  constructor (components: RecallsComponents, partition: string) {
    this.components = components
    this.partition = partition
  }

  /** Resolves once the session has no more than `to` of the inode: does it have it open? */
  recall (sessionId: string, ino: number, to: 'none' | 'shared'): Promise<boolean> {
    const key = `${ino}/${sessionId}`
    const known = this.pending.get(key)
    if (known !== undefined) {
      return known.to === to || to === 'shared' ? known.answer : known.answer.then(() => this.recall(sessionId, ino, to))
    }
    const heard = (answer: RecallResponse | null): void => {
      this.components.leases.lower(sessionId, ino, to, answer?.open === true)
      this.pending.delete(key)
    }
    const answer = this.ask(sessionId, { partition: this.partition, ino, to }, heard).then(({ open }) => open)
    const recall = { to, answer }
    this.pending.set(key, recall)
    void answer.finally(() => { if (this.pending.get(key) === recall) this.pending.delete(key) })
    return answer
  }

  /** Resolves once the session no longer knows these names of the directory, nor its attributes. */
  async recallNames (sessionId: string, dir: number, names: string[]): Promise<void> {
    await this.ask(sessionId, { partition: this.partition, ino: dir, to: 'shared', names }, () => {
      this.components.leases.lower(sessionId, dir, 'shared', false)
    })
  }

  /**
   * `heard` is told of the answer as it arrives: the next message of the session may ask for the lease anew, and
   * what it is granted must not be taken for what it has just given up.
   */
  private async ask (sessionId: string, request: RecallRequest, heard: (answer: RecallResponse | null) => void): Promise<RecallResponse> {
    const { sessions } = this.components
    for (let turn = 0; turn < answerTurns; turn++) await null
    const session = sessions.get(sessionId)
    if (session === undefined) return closed
    if (session.overdue) void sessions.end(session, 'overdue, and others want what it holds', 0)
    session.recalls++
    try {
      return await this.askLive(session, request, heard)
    } finally {
      session.recalls--
    }
  }

  private async askLive (session: LiveSession, request: RecallRequest, heard: (answer: RecallResponse | null) => void): Promise<RecallResponse> {
    const deadline = this.components.clock.now() + recallMsMax
    for (;;) {
      if (session.ended) {
        await session.over
        return closed
      }
      const { peer } = session
      if (peer === null || peer.closed) {
        await changed(session)
        continue
      }
      const answer = await this.attempt({ session, peer, deadline }, request, heard)
      if (answer !== null) return answer
    }
  }

  /** null: the session has ended, or got a connection on which to try again. */
  private attempt ({ session, peer, deadline }: Attempt, request: RecallRequest, heard: (answer: RecallResponse | null) => void): Promise<RecallResponse | null> {
    const timeoutMs = Math.max(1, deadline - this.components.clock.now())
    return new Promise((resolve) => {
      const settle = (answer: RecallResponse | null): void => {
        stop()
        resolve(answer)
      }
      const stop = session.onChange(() => { settle(null) })
      peer.call('lease.recall', request, { timeoutMs, onAnswer: heard }).then(({ body }) => { settle(body) }, (error: unknown) => {
        const code = codeOf(error)
        if (code !== 'ATOLL_CONNECTION_LOST' && !session.ended && session.peer === peer) {
          void this.components.sessions.end(session, `a recall failed: ${code}`)
        }
        settle(null)
      })
    })
  }
}

function changed (session: LiveSession): Promise<void> {
  return new Promise((resolve) => {
    const stop = session.onChange(() => {
      stop()
      resolve()
    })
  })
}
