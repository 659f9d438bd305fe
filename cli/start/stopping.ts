import { setTimeout as delay } from 'node:timers/promises'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { ProcessId } from '../../fsnode/protocol/processes.ts'
import type { DataDirectory } from '../data-directory.ts'
import { startProgress } from '../output.ts'

/** A start waits so long for those who stop the cluster. */
export const stoppingLimitMs = 120_000
const pollMs = 50

/** What a start finds running while somebody stops it is gone a second later: it begins when they are done. Rejects with ATOLL_CLUSTER_STOPPING or the signal's reason. */
export async function untilStopped (directory: DataDirectory, signal: AbortSignal): Promise<void> {
  let [stopper] = directory.stoppers()
  if (stopper === undefined) return
  const progress = startProgress()
  progress.step(`waiting for process ${stopper.pid}, which is stopping the cluster`)
  try {
    for (const endMs = performance.now() + stoppingLimitMs; stopper !== undefined; [stopper] = directory.stoppers()) {
      signal.throwIfAborted()
      if (performance.now() > endMs) throw stoppingError(directory, stopper, `for ${stoppingLimitMs / 1000} s already`, `atoll down --data ${directory.path} && `)
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
  if (stopper !== undefined) throw stoppingError(directory, stopper, 'since this start began', '')
}

function stoppingError ({ path }: DataDirectory, { pid }: ProcessId, since: string, first: string): AtollError {
  return new AtollError('ATOLL_CLUSTER_STOPPING', `process ${pid} is stopping the cluster in ${path}, ${since}`, { hint: `start it again: ${first}atoll up --data ${path}` })
}
