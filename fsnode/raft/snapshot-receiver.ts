import type { NodeId } from '../../partitioning/types.ts'
import { AtollError, messageOf } from '../protocol/errors.ts'
import type { Clock, Logger } from '../protocol/ports.ts'
import type { LogMark, SnapshotChunk } from './core/types.ts'
import type { StateMachine } from './types.ts'

export interface SnapshotReceiverComponents { clock: Clock, log: Logger, stateMachine: StateMachine }

export interface SnapshotReceiverInit {
  idleMs: number
  /** Tells the sender which chunk is wanted next. */
  answer: (to: NodeId, stream: number, known: boolean, next: number) => void
  /** The state machine is being replaced: nothing may be applied until one of the next two. */
  onBegin: () => void
  onRestored: (mark: LogMark) => void
  onFailed: () => void
}

/** Feeds the chunks of one stream at a time to the state machine; a new stream ends the one before. */
export class SnapshotReceiver {
  private readonly components: SnapshotReceiverComponents
  private readonly init: SnapshotReceiverInit
  private stream: Stream | null = null
  private restoring: Promise<void> | null = null

  constructor (components: SnapshotReceiverComponents, init: SnapshotReceiverInit) {
    this.components = components
    this.init = init
  }

  receive (from: NodeId, chunk: SnapshotChunk): void {
    if (this.stream?.isOf(from, chunk) === true) {
      this.stream.take(chunk, this.components.clock.now())
      return
    }
    if (chunk.chunk !== 0) {
      this.init.answer(from, chunk.stream, false, 0)
      return
    }
    this.stream?.fail('a newer snapshot arrives')
    // The one before must let go of the state machine first; until then the sender repeats its chunk.
    if (this.restoring !== null) return
    const stream = new Stream(from, chunk, this.components.clock.now(), (next) => { this.init.answer(from, chunk.stream, true, next) })
    this.stream = stream
    this.restoring = this.restore(stream, chunk)
  }

  tick (now: number): void {
    if (this.stream !== null && now - this.stream.heardAt > this.init.idleMs) this.stream.fail('the sender went silent')
  }

  async close (): Promise<void> {
    this.stream?.fail('the group closes')
    await this.restoring
  }

  private async restore (stream: Stream, first: SnapshotChunk): Promise<void> {
    const { log, stateMachine } = this.components
    const { index, indexTerm: term, members } = first
    log.info('receiving a snapshot', { from: stream.from, index })
    this.init.onBegin()
    stream.take(first, stream.heardAt)
    let restored = false
    try {
      await stateMachine.restore({ index, term, chunks: stream })
      if (!stream.complete) throw new Error('the state machine did not read the whole snapshot')
      // The log is about to forget what led to this state.
      await stateMachine.flush()
      restored = true
    } catch (error) {
      log.warn('a snapshot was not restored', { from: stream.from, index, error: messageOf(error) })
    }
    if (this.stream === stream) this.stream = null
    this.restoring = null
    if (restored) this.init.onRestored({ index, term, members })
    else this.init.onFailed()
  }
}

/** Holds at most one chunk. */
class Stream implements AsyncIterable<Uint8Array> {
  readonly from: NodeId
  complete = false
  heardAt: number
  private readonly first: SnapshotChunk
  private readonly answer: (next: number) => void
  private next = 0
  private held: SnapshotChunk | null = null
  private failure: Error | null = null
  private waiting: (() => void) | null = null

  constructor (from: NodeId, first: SnapshotChunk, now: number, answer: (next: number) => void) {
    this.from = from
    this.first = first
    this.heardAt = now
    this.answer = answer
  }

  isOf (from: NodeId, chunk: SnapshotChunk): boolean {
    return from === this.from && chunk.stream === this.first.stream && chunk.index === this.first.index && chunk.term === this.first.term && this.failure === null
  }

  take (chunk: SnapshotChunk, now: number): void {
    this.heardAt = now
    if (chunk.chunk !== this.next || this.held !== null || this.complete) {
      // Our answer was lost, or the state machine takes its time: we are still here.
      this.answer(this.next)
      return
    }
    this.held = chunk
    this.waiting?.()
  }

  fail (reason: string): void {
    if (this.complete) return
    this.failure ??= new AtollError('ATOLL_UNAVAILABLE', `the snapshot ended early: ${reason}`)
    this.waiting?.()
  }

  async * [Symbol.asyncIterator] (): AsyncIterator<Uint8Array> {
    while (!this.complete) {
      if (this.failure !== null) throw this.failure
      if (this.held === null) {
        await new Promise<void>((resolve) => { this.waiting = resolve })
        continue
      }
      const { data, last } = this.held
      this.held = null
      this.complete = last
      this.answer(++this.next)
      if (data.length > 0) yield data
    }
  }
}
