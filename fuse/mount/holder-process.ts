import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, existsSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { codeOf, messageOf, type ErrorDetails } from '../../fsnode/protocol/errors.ts'
import { bulkProcessEnvironment, bulkProcessFlags } from '../../fsnode/protocol/engine-flags.ts'
import type { Clock, Logger, Random, Timer } from '../../fsnode/protocol/ports.ts'
import { threadPoolSize } from '../device/kernel-device.ts'
import { mountKernel, openDevice, tuneMount, unmountKernel } from '../device/mounts.ts'
import type { Negotiated } from '../protocol/init.ts'
import { claimJournal, defaultJournal } from './journal-owner.ts'
import { isDeadButHeld } from './process-state.ts'
import { restartDelayMs, stableAfterMs } from './restarts.ts'
import { workerDeviceFd, workerEnvironment, type Failure, type HolderInit, type HolderMessage, type StopMessage, type WorkerInit, type WorkerMessage, type WorkerOutcome } from './types.ts'

/** How long the worker may go on after a lazy unmount, for programs that still use the mount. Milliseconds. */
export const lazyGraceMs = 3000
/** Then it is told to stop, and killed this much later; without a lazy unmount it has both. Milliseconds. */
export const stopGraceMs = 10_000

/** How often it is looked whether the kernel keeps a worker that was killed from ending, in milliseconds. */
export const deathWatchMs = 250

/** Files with lost writes that workers are told of. */
export const lostFilesMax = 1_000

export interface HolderComponents {
  clock: Clock
  random: Random
  log: Logger
  /** To whoever started this process and waits for the mount. */
  tellStarter: (message: HolderMessage) => void
  exit: (code: number) => void
}

/**
 * Keeps a mount alive: has the descriptor of /dev/fuse, and always a worker that answers it. As long
 * as one process has the descriptor the kernel waits for answers, so a worker may die: the next one
 * asks for what was not answered.
 */
export class HolderProcess {
  private readonly components: HolderComponents
  private readonly init: HolderInit
  private readonly session: string
  private readonly journal: string | null
  private fd = -1
  private mounting: Promise<void> = Promise.resolve()
  private worker: ChildProcess | null = null
  private outcome: WorkerOutcome | null = null
  private negotiated: Negotiated | null = null
  private generation = 0
  /** Files of which acknowledged writes are lost, the last ones: see WorkerInit. */
  private readonly lost = new Map<number, number>()
  private readonly lostSessions = new Map<number, number>()
  private failures = 0
  private startedAtMs = 0
  private restart: Timer | null = null
  /** It has served: from then on its death is made good, however often. */
  private mounted = false
  private stopping = false

  constructor (components: HolderComponents, init: HolderInit) {
    this.components = components
    this.init = init
    this.session = components.random.bytes(16).toString('hex')
    this.journal = init.journal === false ? null : init.journal ?? defaultJournal(init.mountPoint)
  }

  async start (): Promise<void> {
    const { mountPoint, source, mountOptions } = this.init
    this.discardOldJournal()
    this.claimJournal()
    try {
      this.fd = openDevice()
      this.mounting = mountKernel({ fd: this.fd, path: mountPoint, source, options: mountOptions })
      await this.mounting
    } catch (error) {
      await this.giveUp(failureOf(error), false)
      return
    }
    if (!this.stopping) this.spawnWorker()
  }

  /** Unmounts; the worker flushes and ends, and then this process does. */
  async stop (): Promise<void> {
    if (this.stopping) return
    this.stopping = true
    const { clock, log } = this.components
    const { mountPoint } = this.init
    log.info('unmounting', { mountPoint })
    if (!this.mounted) {
      await this.abandon()
      return
    }
    const clean = await unmountKernel(mountPoint, { lazy: false })
    if (!clean && !(await unmountKernel(mountPoint, { lazy: true }))) log.warn('it was not mounted any more', { mountPoint })
    this.restart?.cancel()
    // Without a worker there may be writes in the journal: one more starts, replays them, and finds the mount gone.
    if (this.worker === null) this.spawnWorker()
    const message: StopMessage = { type: 'stop' }
    if (!clean) clock.setTimer(() => { this.worker?.send(message, () => {}) }, lazyGraceMs)
    clock.setTimer(() => {
      log.error('the worker does not end: it is killed', { stopGraceMs })
      this.worker?.kill('SIGKILL')
    }, stopGraceMs)
  }

  /** Told to stop before the file system ever answered: without a server the kernel lets go of it at once. */
  private async abandon (): Promise<void> {
    const isThere = await this.mounting.then(() => true, () => false)
    this.worker?.kill('SIGKILL')
    if (isThere) {
      closeSync(this.fd)
      await unmountKernel(this.init.mountPoint, { lazy: true })
    }
    this.removeJournal()
    this.components.exit(1)
  }

  private spawnWorker (): void {
    const { mountPoint, factory, options } = this.init
    const init: WorkerInit = { mountPoint, factory, options, journal: this.journal, session: this.session, lostSessions: [...this.lostSessions], generation: this.generation++, negotiated: this.negotiated, lost: [...this.lost] }
    const entry = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url))
    this.outcome = null
    this.startedAtMs = this.components.clock.now()
    const stdio = ['ignore', 'inherit', 'inherit', 'ipc'] as ('ignore' | 'inherit' | 'ipc' | number)[]
    stdio.splice(workerDeviceFd, 0, this.fd)
    const worker = spawn(process.execPath, [...process.execArgv, ...bulkProcessFlags, entry], {
      stdio,
      env: { ...process.env, ...bulkProcessEnvironment, UV_THREADPOOL_SIZE: String(threadPoolSize), [workerEnvironment]: JSON.stringify(init) }
    })
    this.worker = worker
    worker.on('message', (message: WorkerMessage) => { this.received(message) })
    worker.on('error', (error) => { this.components.log.error('cannot start a worker', { error: messageOf(error) }) })
    worker.on('close', (code, signal) => { void this.workerEnded(worker, code, signal) })
    this.watch(worker)
  }

  /**
   * A thread that waits in the kernel for a page of a read that is not answered keeps its process from ending, and only the next
   * worker will answer the read.
   */
  private watch (worker: ChildProcess): void {
    this.components.clock.setTimer(() => {
      if (this.worker !== worker || worker.pid === undefined) return
      if (isDeadButHeld(worker.pid)) void this.workerEnded(worker, null, 'SIGKILL')
      else this.watch(worker)
    }, deathWatchMs)
  }

  private received (message: WorkerMessage): void {
    switch (message.type) {
      case 'negotiated':
        this.negotiated = message.negotiated
        break
      case 'serving':
        if (!this.mounted) this.hasMounted()
        break
      case 'lost':
        this.noteLost(message)
        break
      case 'session-lost':
        this.lostSessions.set(message.index, message.lost)
        break
      case 'failed':
        if (!this.mounted && !this.stopping) void this.giveUp(message.failure, true)
        break
      case 'ended':
        this.outcome = message.outcome
    }
  }

  private noteLost ({ inos, generation }: { inos: readonly number[], generation: number }): void {
    for (const ino of inos) {
      this.lost.delete(ino)
      this.lost.set(ino, generation)
    }
    while (this.lost.size > lostFilesMax) this.lost.delete(this.lost.keys().next().value!)
  }

  private hasMounted (): void {
    const { log, tellStarter } = this.components
    this.mounted = true
    tuneMount(this.init.mountPoint, log)
    tellStarter({ type: 'mounted' })
  }

  private async workerEnded (worker: ChildProcess, code: number | null, signal: NodeJS.Signals | null): Promise<void> {
    const { log, clock } = this.components
    // One that was held in the kernel has been replaced before it ends.
    if (this.worker !== worker) return
    this.worker = null
    // Whoever gave the mount up ends this process.
    if (this.stopping && !this.mounted) return
    const outcome = this.outcome ?? 'failed'
    if (outcome === 'done' || outcome === 'unflushed' || this.stopping) {
      this.end(outcome)
      return
    }
    if (!this.mounted) {
      await this.giveUp({ code: 'ATOLL_MOUNT_FAILED', message: `the worker ended at once (${signal ?? `exit code ${code}`})`, hint: `see its log: ${this.init.logFile ?? 'start it with a log file'}` }, true)
      return
    }
    this.failures = clock.now() - this.startedAtMs >= stableAfterMs ? 1 : this.failures + 1
    const delayMs = restartDelayMs(this.failures)
    log.warn('the worker died: the next one takes over', { code, signal, failures: this.failures, delayMs })
    this.restart = clock.setTimer(() => { this.spawnWorker() }, delayMs)
  }

  /** The mount never worked: nothing is left of it. */
  private async giveUp (failure: Failure, mounted: boolean): Promise<void> {
    if (this.stopping) return
    this.stopping = true
    this.components.log.error('the mount failed', { ...failure })
    if (mounted) await unmountKernel(this.init.mountPoint, { lazy: true })
    this.worker?.kill('SIGKILL')
    this.removeJournal()
    this.components.tellStarter({ type: 'failed', failure })
    this.components.exit(1)
  }

  private end (outcome: WorkerOutcome): void {
    const { log, exit } = this.components
    if (outcome === 'done') this.removeJournal()
    else log.error('the mount ended without its last writes being with the nodes', { outcome, journal: this.journal })
    log.info('unmounted', { mountPoint: this.init.mountPoint })
    exit(outcome === 'done' ? 0 : 1)
  }

  /**
   * A holder that was killed together with its worker leaves its journal. Its session and leases are
   * gone, and others may have written since: what is in it must not be written now.
   */
  private discardOldJournal (): void {
    if (this.journal === null || !existsSync(this.journal)) return
    this.components.log.warn('a mount here died with its holder: writes that were not flushed then are lost', { journal: this.journal })
    this.removeJournal()
  }

  /** Whoever comes later knows by it whether this mount is still there. */
  private claimJournal (): void {
    if (this.journal === null) return
    try {
      claimJournal(this.journal)
    } catch (error) {
      this.components.log.warn('the journal could not be made yet', { journal: this.journal, error: messageOf(error) })
    }
  }

  private removeJournal (): void {
    if (this.journal !== null) rmSync(this.journal, { force: true })
  }
}

export function failureOf (error: unknown): Failure {
  const { hint } = (error as { details?: ErrorDetails } | null)?.details ?? {}
  return { code: codeOf(error), message: messageOf(error), ...(hint === undefined ? {} : { hint }) }
}
