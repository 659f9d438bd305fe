import { writeSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { codeOf, messageOf, type ErrorDetails } from '../../fsnode/protocol/errors.ts'
import { createLogger } from '../../fsnode/protocol/pino-log.ts'
import { systemClock } from '../../fsnode/protocol/system.ts'
import { unmountKernel } from '../device/mounts.ts'
import { workerEnvironment, type Failure, type StopMessage, type WorkerInit, type WorkerMessage, type WorkerOutcome } from './types.ts'
import { WorkerProcess } from './worker-process.ts'

/*
 * The worker's entry. It ends by SIGKILL: process.exit() would wait for threads that write notifications, which may wait for
 * locks of requests that nobody answers any more.
 */

const init = JSON.parse(process.env[workerEnvironment] ?? 'null') as WorkerInit | null
if (init === null) throw new Error(`${workerEnvironment} is not set: this is started by the holder of a mount`)

const log = createLogger('fuse-worker')
const worker = new WorkerProcess({ clock: systemClock, log, tellHolder, end }, init)

/** How long the last lines of the log may take, in milliseconds. */
const lastWordsMs = 100

function tellHolder (message: WorkerMessage): void {
  if (process.connected) process.send!(message, undefined, undefined, () => {})
}

function end (outcome: WorkerOutcome): void {
  tellHolder({ type: 'ended', outcome })
  // A process that ends by a signal does not keep its compiled code by itself: the next one starts faster.
  flushCompileCache()
  // The log is written in the background.
  systemClock.setTimer(() => { process.kill(process.pid, 'SIGKILL') }, lastWordsMs)
}

function crash (error: unknown): void {
  writeSync(2, `fuse-worker ${process.pid}: ${error instanceof Error ? error.stack ?? error.message : String(error)}\n`)
  process.kill(process.pid, 'SIGKILL')
}

process.on('uncaughtException', crash)
process.on('unhandledRejection', crash)
process.on('message', (message: StopMessage) => { if (message.type === 'stop') void worker.stop() })
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  process.on(signal, () => {
    // The holder unmounts, and then the device ends by itself. Without a holder this process does it.
    if (!process.connected) void unmountKernel(init.mountPoint, { lazy: true }).then(() => worker.stop())
  })
}
process.on('disconnect', () => { log.warn('the holder is gone: serving until the file system is unmounted', { mountPoint: init.mountPoint }) })

try {
  await worker.start()
} catch (error) {
  const { hint } = (error as { details?: ErrorDetails }).details ?? {}
  const failure: Failure = { code: codeOf(error), message: messageOf(error), ...(hint === undefined ? {} : { hint }) }
  log.error('the worker cannot start', { ...failure, stack: error instanceof Error ? error.stack : undefined })
  tellHolder({ type: 'failed', failure })
  end('failed')
}
