import type { LostSessions, VolumeClient } from '../../client/types.ts'
import { messageOf, posixError } from '../../fsnode/protocol/errors.ts'
import type { Clock, Logger } from '../../fsnode/protocol/ports.ts'
import { BufferPool } from '../device/buffers.ts'
import { KernelDevice } from '../device/kernel-device.ts'
import { Dispatcher } from '../filesystem/dispatcher.ts'
import type { LostWrites } from '../filesystem/file-handles.ts'
import { requestBufferBytes } from '../protocol/constants.ts'
import { resend } from '../protocol/notify.ts'
import { FileJournal } from './journal.ts'
import { replay } from './replay.ts'
import { workerDeviceFd, type CreateVolumeClient, type WorkerInit, type WorkerMessage, type WorkerOutcome } from './types.ts'

/** Request buffers in all: the one that is read into, and those whose WRITE data the client still refers to. */
export const requestBuffersMax = 49
/** What is in flight and unflushed at the end may take this long, in milliseconds. */
export const closeTimeoutMs = 8000

export interface WorkerComponents {
  clock: Clock
  log: Logger
  tellHolder: (message: WorkerMessage) => void
  /** Ends the process; the device may still be being read. */
  end: (outcome: WorkerOutcome) => void
}

/** The process that answers a mount's requests. All it knows can be known again by a successor. */
export class WorkerProcess {
  private readonly components: WorkerComponents
  private readonly init: WorkerInit
  private client: VolumeClient | null = null
  private journal: FileJournal | null = null
  private dispatcher: Dispatcher | null = null
  private finishing = false

  constructor (components: WorkerComponents, init: WorkerInit) {
    this.components = components
    this.init = init
  }

  async start (): Promise<void> {
    const { init, components: { log, tellHolder } } = this
    this.journal = init.journal === null ? null : FileJournal.open(init.journal)
    const { createVolumeClient } = await import(init.factory) as { createVolumeClient: CreateVolumeClient }
    const lostSessions = new Map(init.lostSessions)
    const lostOf: LostSessions = {
      of: (index) => lostSessions.get(index) ?? 0,
      note: (index, lost) => { tellHolder({ type: 'session-lost', index, lost }) }
    }
    this.client = await createVolumeClient(init.options, { session: init.session, lost: lostOf, ...(this.journal === null ? {} : { journal: this.journal }) })
    const lost = await this.replay(this.client)
    this.client.onLost = (ino) => { tellHolder({ type: 'lost', inos: [ino], generation: init.generation + 1 }) }
    const written = new Map((this.journal?.recover() ?? []).flatMap(({ operationId, offset }) => operationId === undefined ? [] : [[operationId, offset] as const]))
    const { device, dispatcher } = this.build(this.client, lost, written)
    if (init.generation > 0) {
      await dispatcher.distrustCaches()
      // Before anything is read: what this process has read itself must not come twice.
      await device.notify(resend())
    }
    device.start()
    log.info('serving', { generation: init.generation })
    if (init.negotiated !== null) tellHolder({ type: 'serving' })
  }

  private async replay (client: VolumeClient): Promise<Map<number, LostWrites>> {
    const { journal, init: { generation, lost: before }, components: { log, tellHolder } } = this
    const lost = new Map(before.map(([ino, then]): [number, LostWrites] => [ino, { failure: posixError('EIO', 'lost with a worker before'), generation: then }]))
    if (journal === null) return lost
    const found = await replay(client, journal, log)
    if (found.size > 0) tellHolder({ type: 'lost', inos: [...found.keys()], generation })
    for (const [ino, failure] of found) lost.set(ino, { failure, generation })
    return lost
  }

  /** Ends while the mount may still be in use: what was written is flushed, then the process is gone. */
  async stop (): Promise<void> { await this.finish() }

  private build (client: VolumeClient, lostWrites: ReadonlyMap<number, LostWrites>, written: ReadonlyMap<number, number>): { device: KernelDevice, dispatcher: Dispatcher } {
    const { init, components: { clock, log, tellHolder } } = this
    const pool = new BufferPool({ bufferBytes: requestBufferBytes, buffersMax: requestBuffersMax })
    const device = new KernelDevice({ pool, log }, {
      fd: workerDeviceFd,
      onRequest: (buffer, length) => dispatcher.dispatch(buffer, length),
      onEnd: (reason) => { void this.deviceEnded(reason) }
    })
    const dispatcher = new Dispatcher({ client, clock, log, pool, send: (pieces) => device.send(pieces), notify: (message) => device.notify(message), store: (pieces) => device.store(pieces) }, {
      generation: init.generation,
      negotiated: init.negotiated,
      lostWrites,
      written,
      onNegotiated: (negotiated) => {
        tellHolder({ type: 'negotiated', negotiated })
        // When INIT has been answered, which follows in this turn of the event loop.
        setImmediate(() => { tellHolder({ type: 'serving' }) })
      }
    })
    this.dispatcher = dispatcher
    return { device, dispatcher }
  }

  private async deviceEnded (reason: 'unmounted' | 'failed'): Promise<void> {
    if (reason === 'failed') this.components.end('failed')
    else await this.finish()
  }

  private async finish (): Promise<void> {
    if (this.finishing) return
    this.finishing = true
    const { clock, log, end } = this.components
    clock.setTimer(() => {
      log.error('the volume did not close in time', { closeTimeoutMs, unflushedWrites: this.journal?.waiting ?? 0 })
      end('unflushed')
    }, closeTimeoutMs)
    try {
      await this.dispatcher?.drained()
      await this.dispatcher?.close()
      await this.client?.sync()
      await this.client?.close()
      const unflushed = this.journal?.waiting ?? 0
      if (unflushed > 0) log.error('acknowledged writes did not reach the nodes: they stay in the journal', { unflushed, journal: this.init.journal })
      end(unflushed === 0 ? 'done' : 'unflushed')
    } catch (error) {
      log.error('the volume did not close', { error: messageOf(error) })
      end('unflushed')
    }
  }
}
