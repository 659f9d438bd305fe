import { setTimeout as delay } from 'node:timers/promises'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { ProcessId } from '../../fsnode/protocol/processes.ts'
import type { DataDirectory } from '../data-directory.ts'
import { startProgress } from '../output.ts'

/** A start waits so long for those who stop the cluster. */
export const stoppingLimitMs = 120_000
const pollMs = 50
/** How often a command under way looks whether somebody stops its cluster. */
const lookMs = 200

/** What a start finds running while somebody stops it is gone a second later: it begins when they are done. Rejects with ATOLL_CLUSTER_STOPPING or the signal's reason. */
export async function untilStopped (directory: DataDirectory, signal: AbortSignal): Promise<void> {
  let [stopper] = directory.stoppers()
  if (stopper === undefined) return
  const progress = startProgress()
  progress.step(`waiting for process ${stopper.pid}, which is stopping the cluster`)
  try {
    for (const endMs = performance.now() + stoppingLimitMs; stopper !== undefined; [stopper] = directory.stoppers()) {
      signal.throwIfAborted()
      if (performance.now() > endMs) throw stoppingError(directory, stopper, `, for ${stoppingLimitMs / 1000} s already`, `atoll down --data ${directory.path} && `)
      await delay(pollMs)
    }
  } catch (error) {
    progress.fail()
    throw error
  }
  progress.done('the cluster is stopped')
}

/** Throws ATOLL_CLUSTER_STOPPING while another process stops what is being started. */
export function requireNoStopper (directory: DataDirectory): void {
  const [stopper] = directory.stoppers()
  if (stopper !== undefined) throw stoppingError(directory, stopper, ', since this start began', '')
}

/**
 * For what needs the cluster and would only wait for it in vain: rejects with ATOLL_CLUSTER_STOPPING when somebody is stopping it, and when somebody
 * begins to; `work` is told by the signal, and ends before that.
 */
export async function unlessStopped<T> (directory: DataDirectory, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stopped = new AbortController()
  const look = (): void => {
    const [stopper] = directory.stoppers()
    if (stopper !== undefined && !stopped.signal.aborted) stopped.abort(stoppingError(directory, stopper, '', ''))
  }
  look()
  const timer = setInterval(look, lookMs)
  try {
    stopped.signal.throwIfAborted()
    return await work(stopped.signal)
  } catch (error) {
    look()
    throw stopped.signal.aborted ? stopped.signal.reason : error
  } finally {
    clearInterval(timer)
  }
}

function stoppingError ({ path }: DataDirectory, { pid }: ProcessId, since: string, first: string): AtollError {
  return new AtollError('ATOLL_CLUSTER_STOPPING', `process ${pid} is stopping the cluster in ${path}${since}`, { hint: `start it again: ${first}atoll up --data ${path}` })
}
