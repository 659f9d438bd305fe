import { AtollError, codeOf, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Clock, Kv, Logger, Random, Timer } from '../../fsnode/protocol/ports.ts'
import { beatIntervalMs, mirrorDelayMs } from './constants.ts'
import { ownPrefix, takeSnapshot } from './snapshot.ts'
import type { StateHead, StateStore } from './state-store.ts'

export interface StateMirrorComponents { clock: Clock, random: Random, log: Logger, kv: Kv, store: StateStore }
export interface StateMirrorInit { clusterId: string, api: string }

const writerKey = Buffer.from(`${ownPrefix}writer`)
/** Set once the cluster has had a copy. */
const madeKey = Buffer.from(`${ownPrefix}made`)

/** The name of a store in the heads that it writes; made once. */
export async function writerOf ({ kv, random }: Pick<StateMirrorComponents, 'kv' | 'random'>): Promise<string> {
  const known = kv.get(writerKey)
  if (known !== undefined) return Buffer.from(known).toString()
  const writer = random.bytes(16).toString('hex')
  await kv.batch([{ type: 'put', key: writerKey, value: Buffer.from(writer) }], { sync: true })
  return writer
}

/**
 * Keeps a copy of the framework's records in the cluster, a second behind, and a beat that shows that somebody acts.
 * Nothing waits for it: the framework must act just when the cluster is not well. What a successor does not find in the
 * copy it finds in the labels of reservations and in the tasks that the master knows.
 */
export class StateMirror {
  readonly #components: StateMirrorComponents
  readonly #init: StateMirrorInit
  #writer = ''
  #sequence = 0
  #beat = 0
  #dirty = true
  #written: Buffer | undefined
  #timer: Timer | undefined
  #closed = false
  #problem: string | null = null

  constructor (components: StateMirrorComponents, init: StateMirrorInit) {
    this.#components = components
    this.#init = init
  }

  /** Why the cluster has no copy of today; null: it has. */
  get problem (): string | null { return this.#problem }

  async start (): Promise<void> {
    this.#writer = await writerOf(this.#components)
    this.#schedule(mirrorDelayMs)
  }

  /** Something has changed. */
  touch (): void { this.#dirty = true }

  close (): void {
    this.#closed = true
    this.#timer?.cancel()
    this.#components.store.close()
  }

  #schedule (delayMs: number): void {
    if (this.#closed) return
    this.#timer = this.#components.clock.setTimer(() => {
      const wasDirty = this.#dirty
      this.#write().then(
        () => {
          this.#problem = null
          this.#schedule(this.#dirty ? mirrorDelayMs : beatIntervalMs)
        },
        (error: unknown) => {
          this.#dirty ||= wasDirty
          // Whatever comes in its place is empty.
          if (codeOf(error) === 'ATOLL_NO_SUCH_VOLUME') this.#written = undefined
          const reason = messageOf(error)
          if (reason !== this.#problem) this.#components.log.warn('the scheduler has no copy of its state in the cluster', { reason })
          this.#problem = reason
          this.#schedule(beatIntervalMs)
        }
      )
    }, delayMs)
  }

  async #write (): Promise<void> {
    const { store, kv } = this.#components
    this.#dirty = false
    const isMade = kv.get(madeKey) !== undefined
    if (!isMade) await store.prepare()
    if (this.#beat === 0) await this.#takeUp()
    const state = await takeSnapshot(kv)
    this.#beat++
    if (this.#written?.equals(state) === true) {
      await store.writeHead(this.#head())
      return
    }
    this.#sequence++
    await store.writeState(this.#head(), state)
    this.#written = state
    if (!isMade) await kv.batch([{ type: 'put', key: madeKey, value: Buffer.from('1') }], { sync: true })
  }

  /** Numbers go on from where somebody left them. */
  async #takeUp (): Promise<void> {
    const head = await this.#components.store.readHead()
    if (head === null) return
    if (head.clusterId !== this.#init.clusterId) throw new AtollError('ATOLL_STORE_UNUSABLE', `the cluster holds the state of the scheduler of cluster ${head.clusterId}`)
    this.#sequence = head.sequence
    this.#beat = head.beat
  }

  #head (): StateHead {
    return { clusterId: this.#init.clusterId, writer: this.#writer, sequence: this.#sequence, beat: this.#beat, api: this.#init.api }
  }
}
