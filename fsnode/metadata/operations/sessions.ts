import { sessionsMax } from '../constants.ts'
import type { Outcome } from '../types.ts'
import { type Context, done, failure } from './context.ts'
import { releaseOrphan } from './remove.ts'

export interface OpenSessionArgs { id: string, client: string, existing?: boolean }

export function openSession ({ store, now }: Context, { id, client, existing }: OpenSessionArgs): Outcome {
  if (store.sessions.get(id) !== undefined) return done
  if (existing === true) return failure('ATOLL_SESSION_EXPIRED')
  if (store.sessions.all.size >= sessionsMax) return failure('ATOLL_TOO_MANY_SESSIONS')
  store.addSession({ id, client, openedAt: now, streamed: 0, failed: [], nextResult: 0, results: new Map() })
  return done
}

export interface EndSessionArgs { id: string }

/** Closed or expired: what it had open without a name is released, its answers are forgotten, its requests are refused. */
export function endSession (context: Context, { id }: EndSessionArgs): Outcome {
  const { store } = context
  const session = store.sessions.get(id)
  if (session === undefined) return done
  for (const ino of [...store.orphans.all.keys()]) releaseOrphan(context, ino, id)
  store.removeSession(session)
  return done
}
