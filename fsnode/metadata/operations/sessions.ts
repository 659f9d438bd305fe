import { sessionsMax } from '../constants.ts'
import type { MetadataStore } from '../store.ts'
import type { Outcome, Session } from '../types.ts'
import { type Context, done, failure } from './context.ts'
import { releaseOrphan } from './remove.ts'

export interface OpenSessionArgs { id: string, client: string, existing?: boolean }

/** Opens a session, or finds it, which is not overdue from then on. */
export function openSession ({ store, now }: Context, { id, client, existing }: OpenSessionArgs): Outcome {
  const known = store.sessions.get(id)
  if (known !== undefined) return mark(store, known, false)
  if (existing === true) return failure('ATOLL_SESSION_EXPIRED')
  if (store.sessions.all.size >= sessionsMax) return failure('ATOLL_TOO_MANY_SESSIONS')
  store.putSession({ id, client, openedAt: now, streamed: 0, failed: [], overdue: false, nextResult: 0, results: new Map() })
  return done
}

/** Its time is over, and nobody wants what it holds. */
export function overdueSession ({ store }: Context, { id }: SessionArgs): Outcome {
  const session = store.sessions.get(id)
  return session === undefined ? done : mark(store, session, true)
}

function mark (store: MetadataStore, session: Session, overdue: boolean): Outcome {
  if (session.overdue !== overdue) {
    session.overdue = overdue
    store.putSession(session)
  }
  return done
}

export interface SessionArgs { id: string }

/** Closed or expired: what it had open without a name is released, its answers are forgotten, its requests are refused. */
export function endSession (context: Context, { id }: SessionArgs): Outcome {
  const { store } = context
  const session = store.sessions.get(id)
  if (session === undefined) return done
  for (const ino of [...store.orphans.all.keys()]) releaseOrphan(context, ino, id)
  store.removeSession(session)
  return done
}
