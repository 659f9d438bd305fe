import type { NodeId } from '../../partitioning/types.ts'
import { messageOf } from '../protocol/errors.ts'
import type { Clock, Logger, Timer } from '../protocol/ports.ts'
import type { LogMark, SnapshotChunk, SnapshotResponse } from './core/types.ts'
import type { StateMachine } from './types.ts'

export interface SnapshotSenderComponents { clock: Clock, log: Logger, stateMachine: StateMachine }

export interface SnapshotSenderInit {
  to: NodeId
  term: number
  stream: number
  chunkBytesMax: number
  resendMs: number
  /** Given up when the follower has not answered for so long. */
  idleMs: number
  markOf: (snapshot: { index: number, term: number }) => LogMark
  send: (message: SnapshotChunk) => void
  /** Called once, whatever the end was. */
  onEnd: () => void
}

/**
 * Streams the state machine to one follower, one chunk at a time: the next leaves when the follower
 * has taken the last. The final chunk is repeated until the follower has restored, which the owner sees
 * and ends by `cancel`.
 */
export class SnapshotSender {
  /** The log must keep what follows this entry; Infinity until it is known. */
  index = Infinity
  private readonly components: SnapshotSenderComponents
  private readonly init: SnapshotSenderInit
  private current: SnapshotChunk | null = null
  private taken: (() => void) | null = null
  private timer: Timer | null = null
  private heardAt = 0
  private ended = false

  constructor (components: SnapshotSenderComponents, init: SnapshotSenderInit) {
    this.components = components
    this.init = init
  }

  async run (): Promise<void> {
    const { log, stateMachine } = this.components
    const { to } = this.init
    try {
      const snapshot = await stateMachine.snapshot()
      this.heardAt = this.components.clock.now()
      const mark = this.init.markOf(snapshot)
      this.index = mark.index
      log.info('sending a snapshot', { to, index: mark.index })
      let chunk = 0
      for await (const data of snapshot.chunks) {
        for (let offset = 0; offset < data.length && !this.ended; offset += this.init.chunkBytesMax) {
          await this.deliver(this.chunkOf(mark, chunk++, data.subarray(offset, offset + this.init.chunkBytesMax), false))
        }
        if (this.ended) break
      }
      if (!this.ended) await this.deliver(this.chunkOf(mark, chunk, new Uint8Array(0), true))
    } catch (error) {
      log.error('a snapshot cannot be made', { to, error: messageOf(error) })
    }
    this.cancel()
  }

  received (response: SnapshotResponse): void {
    const { current } = this
    if (current === null || response.stream !== this.init.stream) return
    this.heardAt = this.components.clock.now()
    if (!response.known) {
      // The follower restarted, or gave up, which it may do again: not at once.
      this.current = null
      this.timer?.cancel()
      this.timer = this.components.clock.setTimer(() => { this.cancel() }, this.init.resendMs)
    } else if (response.next === current.chunk + 1 && !current.last) {
      this.current = null
      this.taken?.()
    }
  }

  cancel (): void {
    if (this.ended) return
    this.ended = true
    this.timer?.cancel()
    this.taken?.()
    this.init.onEnd()
  }

  private chunkOf (mark: LogMark, chunk: number, data: Uint8Array, last: boolean): SnapshotChunk {
    return { type: 'snapshot', term: this.init.term, stream: this.init.stream, chunk, last, index: mark.index, indexTerm: mark.term, members: mark.members, data }
  }

  private deliver (message: SnapshotChunk): Promise<void> {
    return new Promise((resolve) => {
      this.current = message
      this.taken = resolve
      this.timer?.cancel()
      this.transmit()
    })
  }

  private transmit (): void {
    if (this.ended || this.current === null) return
    if (this.components.clock.now() - this.heardAt > this.init.idleMs) {
      this.cancel()
      return
    }
    this.init.send(this.current)
    this.timer = this.components.clock.setTimer(() => { this.transmit() }, this.init.resendMs)
  }
}
