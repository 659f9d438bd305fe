/**
 * Which bytes of a ring hold records that are not settled. Records lie in one piece: one that does
 * not fit before the end of the ring begins at 0 again. They are freed in order: space comes back
 * when the oldest is settled. Pure: knows nothing of what holds the bytes.
 */
export interface RingRecord {
  /** Consecutive from the first record of the ring's life. */
  readonly sequence: number
  readonly position: number
  readonly length: number
  settled: boolean
}

export class Ring {
  readonly capacity: number
  /** In order of sequence; the first is never settled. */
  private records: RingRecord[] = []
  /** Settled records at the front of `records` that were not cut off yet. */
  private skipped = 0
  private nextSequence: number
  private nextPosition: number

  constructor (init: { capacity: number, sequence?: number, position?: number }) {
    this.capacity = init.capacity
    this.nextSequence = init.sequence ?? 1
    this.nextPosition = init.position ?? 0
  }

  get size (): number { return this.records.length - this.skipped }

  /** The oldest record that is not settled: recovery begins there. */
  get oldest (): RingRecord | null { return this.records[this.skipped] ?? null }

  /** Where, and with which sequence, the next record goes if it has the room; what recovery starts from in an empty ring. */
  get next (): { sequence: number, position: number } { return { sequence: this.nextSequence, position: this.nextPosition } }

  /** Null when there is no room. */
  allocate (length: number): RingRecord | null {
    const position = this.place(length)
    if (position === null) return null
    const record = { sequence: this.nextSequence, position, length, settled: false }
    this.nextSequence++
    this.nextPosition = position + length
    this.records.push(record)
    return record
  }

  /** Takes in a record found in recovery, in order. */
  restore (record: RingRecord): void {
    this.nextSequence = record.sequence + 1
    this.nextPosition = record.position + record.length
    this.records.push(record)
    this.cut()
  }

  /** Returns the record, or null when it is unknown or was settled before. */
  settle (sequence: number): RingRecord | null {
    const first = this.records[this.skipped]?.sequence
    const record = first === undefined ? undefined : this.records[this.skipped + sequence - first]
    if (record === undefined || record.sequence !== sequence || record.settled) return null
    record.settled = true
    this.cut()
    return record
  }

  private place (length: number): number | null {
    const { oldest, nextPosition, capacity } = this
    if (oldest === null) return length > capacity ? null : (nextPosition + length <= capacity ? nextPosition : 0)
    // Used bytes reach from the oldest to the next position, perhaps around the end. They never meet: full and empty would look alike.
    if (nextPosition <= oldest.position) return nextPosition + length < oldest.position ? nextPosition : null
    if (nextPosition + length <= capacity) return nextPosition
    return length < oldest.position ? 0 : null
  }

  private cut (): void {
    while (this.skipped < this.records.length && this.records[this.skipped]!.settled) this.skipped++
    // Cut off in bulk, so that settling costs constant time.
    if (this.skipped > 1024 || this.skipped === this.records.length) {
      this.records = this.records.slice(this.skipped)
      this.skipped = 0
    }
  }
}
