import type { CommittedEntry, StateMachine } from '../../fsnode/raft/types.ts'

export interface Applied { index: number, term: number, command: string }

/** A state machine that is the list of what it applied. It forgets in a crash what it did not flush. */
export class LogMachine implements StateMachine {
  applied: Applied[] = []
  durable: Applied[] = []
  restores = 0
  onApply: (applied: Applied) => void = () => {}
  failure: Error | null = null

  get durableIndex (): number { return this.durable.at(-1)?.index ?? 0 }

  get commands (): string[] { return this.applied.map(({ command }) => command) }

  apply (entry: CommittedEntry): unknown {
    if (this.failure !== null) throw this.failure
    const last = this.applied.at(-1)?.index ?? 0
    if (entry.index <= last) throw new Error(`entry ${entry.index} applied after ${last}`)
    const applied = { index: entry.index, term: entry.term, command: Buffer.from(entry.command).toString() }
    this.applied.push(applied)
    this.onApply(applied)
    return `${applied.command}@${this.applied.length}`
  }

  async flush (): Promise<void> {
    this.durable = [...this.applied]
  }

  async snapshot (): Promise<{ index: number, term: number, chunks: AsyncIterable<Uint8Array> }> {
    const { index, term } = this.applied.at(-1) ?? { index: 0, term: 0 }
    return { index, term, chunks: chunksOf(Buffer.from(JSON.stringify(this.applied))) }
  }

  async restore (snapshot: { index: number, term: number, chunks: AsyncIterable<Uint8Array> }): Promise<void> {
    this.restores++
    // Like a store that is replaced in place: a failure half way leaves nothing.
    this.applied = []
    this.durable = []
    const parts: Uint8Array[] = []
    for await (const chunk of snapshot.chunks) parts.push(Buffer.from(chunk))
    this.applied = JSON.parse(Buffer.concat(parts).toString())
    this.durable = [...this.applied]
    if ((this.applied.at(-1)?.index ?? 0) !== snapshot.index) throw new Error('the snapshot is of another index')
  }

  /** What the next process finds. */
  crash (): LogMachine {
    const next = new LogMachine()
    next.durable = [...this.durable]
    next.applied = [...this.durable]
    return next
  }
}

async function * chunksOf (bytes: Buffer): AsyncIterable<Uint8Array> {
  for (let offset = 0; offset < bytes.length; offset += 1_000) yield bytes.subarray(offset, offset + 1_000)
}
