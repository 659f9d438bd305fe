import { setTimeout as delay } from 'node:timers/promises'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { isAlive, type ProcessId } from '../../fsnode/protocol/processes.ts'
import type { ClusterFile, DataDirectory } from '../data-directory.ts'
import { lastError } from '../log-tail.ts'
import { requireNoStopper } from './stopping.ts'

const pollMs = 25
/** How often the processes of a start are looked at while something else is awaited. */
const lookMs = 250

export interface StartWatchInit {
  scheduler: ProcessId
  /** Length of the scheduler's log before it was started: what is in it is of earlier ones. */
  logOffsetBytes: number
  limitMs: number
  /** Ends every wait with its reason. */
  signal: AbortSignal
}

/** Waits for the steps of a start, as long as nothing that they depend on has failed. */
export class StartWatch {
  private readonly directory: DataDirectory
  private readonly init: StartWatchInit
  private readonly endMs: number

  constructor (directory: DataDirectory, init: StartWatchInit) {
    this.directory = directory
    this.init = init
    this.endMs = performance.now() + init.limitMs
  }

  get signal (): AbortSignal { return this.init.signal }

  /** The cluster file of the watched scheduler, once there is one. */
  get file (): ClusterFile | null {
    const file = this.directory.readCluster()
    return file?.scheduler.pid === this.init.scheduler.pid ? file : null
  }

  async until (what: string, condition: () => boolean): Promise<void> {
    for (let lookedMs = -Infinity; ; await delay(pollMs)) {
      this.init.signal.throwIfAborted()
      if (condition()) return
      if (performance.now() - lookedMs < lookMs) continue
      lookedMs = performance.now()
      this.look(what)
    }
  }

  async race<T> (what: string, work: Promise<T>): Promise<T> {
    let settled = false
    const result = work.finally(() => { settled = true })
    result.catch(() => {})
    const failure = this.until(what, () => settled)
    return Promise.race([result, failure.then(() => result)])
  }

  private look (what: string): void {
    const { scheduler, logOffsetBytes, limitMs } = this.init
    requireNoStopper(this.directory)
    if (!isAlive(scheduler)) throw lastError(this.directory.log('scheduler'), 'the scheduler', logOffsetBytes)
    const failing = this.file?.failing[0]
    if (failing !== undefined) throw lastError(this.directory.nodeLog(failing.id), failing.id, 0, failing.reason)
    if (performance.now() < this.endMs) return
    throw new AtollError('ATOLL_START_TIMEOUT', `the cluster did not come up within ${limitMs / 1000} s: still ${what}`, {
      hint: `the nodes' logs: tail ${this.directory.schedulerDirectory}/master/tasks/*/stderr`
    })
  }
}
