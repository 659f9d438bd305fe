import { codeOf, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Clock, Kv, Logger, Random } from '../../fsnode/protocol/ports.ts'
import { takeoverAfterMs, watchIntervalMs } from './constants.ts'
import { writerOf } from './mirror.ts'
import { restoreSnapshot } from './snapshot.ts'
import type { StateHead, StateStore } from './state-store.ts'

export interface StandbyComponents { clock: Clock, random: Random, log: Logger, kv: Kv, store: StateStore }

export interface StandbyInit {
  /** Called with what is known of the scheduler that acts, when that changes. */
  onWatch?: (head: StateHead) => void
  /** Resolves: no use to wait any longer. */
  cancelled?: Promise<void>
}

export type Turn =
  /** The state in the store is the newest there is. */
  | 'own'
  /** The state of another scheduler was taken over. */
  | 'taken'
  /** No scheduler has ever kept its state there. */
  | 'first'
  | 'cancelled'

/**
 * Waits until this process may act. The beat of the one that acts must stand still for `takeoverAfterMs` of our own time.
 * Should it live all the same, the master decides: the newest subscription of the framework wins, and the other one
 * ends. Rejects with what keeps the state from being read when nothing was ever read.
 */
export async function waitForTurn (components: StandbyComponents, init: StandbyInit = {}): Promise<Turn> {
  const { clock, log, store } = components
  const writer = await writerOf(components)
  let cancelled = false
  const cancellation = init.cancelled?.then(() => { cancelled = true })
  const pause = (): Promise<unknown> => Promise.race([new Promise<void>((resolve) => { clock.setTimer(resolve, watchIntervalMs) }), ...(cancellation === undefined ? [] : [cancellation])])
  let seen: StateHead | undefined
  let seenAtMs = 0
  for (;;) {
    if (cancelled) return 'cancelled'
    try {
      const head = await store.readHead()
      if (head === null) return 'first'
      // Our own store wrote it: nobody has acted since.
      if (head.writer === writer) return 'own'
      if (seen === undefined || head.beat !== seen.beat || head.writer !== seen.writer) {
        seen = head
        seenAtMs = clock.now()
        init.onWatch?.(head)
      } else if (clock.now() - seenAtMs >= takeoverAfterMs) {
        log.warn('the scheduler that acted is silent: this one takes over', { writer: head.writer, silentMs: clock.now() - seenAtMs })
        return await take(components)
      }
    } catch (error) {
      // Without the cluster nobody can tell who acts: it needs no scheduler to serve its data.
      log.warn('the state of the scheduler cannot be read', { code: codeOf(error), reason: messageOf(error) })
      if (seen === undefined && init.cancelled === undefined) throw error
      seenAtMs = clock.now()
    }
    await pause()
  }
}

async function take ({ kv, store }: StandbyComponents): Promise<Turn> {
  const found = await store.readState()
  if (found === null) return 'first'
  await restoreSnapshot(kv, found.state)
  return 'taken'
}
