/** Writes and reads are aligned to cells, so that each cell is a register of its own. */
export const cellBytes = 512

export type Call =
  | { kind: 'lookup', dir: number, name: string }
  | { kind: 'getattr', ino: number }
  | { kind: 'readdir', dir: number }
  | { kind: 'create', dir: number, name: string, exclusive: boolean }
  | { kind: 'mkdir', dir: number, name: string }
  | { kind: 'unlink' | 'rmdir', dir: number, name: string }
  | { kind: 'rename', dir: number, name: string, newDir: number, newName: string, flags: number }
  | { kind: 'link', ino: number, dir: number, name: string }
  | { kind: 'truncate', ino: number, cells: number }
  | { kind: 'write', ino: number, cell: number, cells: number }
  | { kind: 'read', ino: number, cell: number, cells: number }
  | { kind: 'open', ino: number }
  | { kind: 'flush' | 'sync', ino: number }

export interface Entry { name: string, ino: number, directory: boolean }

export interface Result {
  ino?: number
  directory?: boolean
  created?: boolean
  nlink?: number
  /** Bytes. */
  size?: number
  entries?: Entry[]
  /** What each cell held: the number of the write, 0 for zeros, -1 for anything else. */
  values?: number[]
}

/**
 * `well` and `refused` (with a POSIX code; nothing changed) are known outcomes. `partial`: over, with or without an
 * effect. `unknown`: it happened, happens later, or never.
 */
export type Outcome = 'well' | 'refused' | 'partial' | 'unknown'

export interface Operation {
  /** Also the value that a write puts into its cells. */
  id: number
  /** Which process of which client. */
  client: string
  call: Call
  /** Places in the one order of all beginnings and ends; Infinity: no end was seen. */
  invoked: number
  returned: number
  at: number
  outcome: Outcome
  code?: string
  result: Result
  /** What it sees proves nothing. */
  void: boolean
}

/** What all clients did and saw. */
export class History {
  readonly operations: Operation[] = []
  /** When power was lost at every replica of some data. */
  readonly powerLosses: Array<{ invoked: number, returned: number }> = []
  onChange: (operation: Operation, ended: boolean) => void = () => {}
  private places = 0
  /** Files of which a process sees writes of its own that are not certain, until a sync goes well. */
  private readonly doubtful = new Set<string>()

  begin (client: string, call: Call, at: number): Operation {
    const operation: Operation = { id: this.operations.length + 1, client, call, invoked: ++this.places, returned: Infinity, at, outcome: 'unknown', result: {}, void: false }
    this.operations.push(operation)
    this.onChange(operation, false)
    return operation
  }

  end (operation: Operation, outcome: Outcome, result: Result, code?: string): void {
    operation.outcome = operation.void ? 'unknown' : outcome
    operation.result = result
    if (code !== undefined) operation.code = code
    if (operation.outcome !== 'unknown') operation.returned = ++this.places
    if (outcome === 'partial') this.voidLooks(operation, operation.invoked)
    const { call, client } = operation
    if (call.kind === 'sync' && outcome === 'well') this.doubtful.delete(`${client} ${call.ino}`)
    else if (this.doubtful.has(`${client} ${inodeSeen(operation)}`)) forget(operation)
    this.onChange(operation, true)
  }

  /**
   * An acknowledged write turns out not to be certain: its process ended, or was told that it is lost, before it was
   * written back. What the process itself has seen of the file since then is not certain either, nor what it sees as long as that may go on.
   */
  doubt (write: Operation): void {
    forget(write)
    this.voidLooks(write, write.invoked)
    this.doubtful.add(`${write.client} ${(write.call as { ino: number }).ino}`)
  }

  /** What the writer's process saw of the file since this place: perhaps a write that failed in the end. */
  private voidLooks (write: Operation, since: number): void {
    const { ino } = write.call as { ino: number }
    for (const operation of this.operations) {
      if (operation.client !== write.client || operation.returned < since) continue
      if (inodeSeen(operation) === ino || (operation.call.kind === 'lookup' && operation.result.ino === undefined)) forget(operation)
    }
  }

  /** So many beginnings and ends there have been. */
  get place (): number { return this.places }

  /** What a machine's processes have done and seen since this place, others may never see. */
  doubtSince (host: string, since: number): void {
    for (const operation of this.operations) {
      if (!operation.client.startsWith(`${host}.`) || operation.returned < since) continue
      // Those under way may have their outcome already.
      if (operation.returned === Infinity && operation.call.kind !== 'write') operation.void = true
      if (operation.outcome !== 'refused' || !isChange(operation)) forget(operation)
      else operation.returned = Infinity
    }
  }

  /** The operation is certain from now on only. */
  postpone (operation: Operation): void { operation.returned = ++this.places }

  powerLoss (): void { this.powerLosses.push({ invoked: ++this.places, returned: ++this.places }) }
}

/** Whose size or content it told. */
function inodeSeen ({ call, result }: Operation): number | undefined {
  return call.kind === 'read' || call.kind === 'getattr' ? call.ino : call.kind === 'lookup' ? result.ino : undefined
}

function isChange ({ call: { kind } }: Operation): boolean {
  return kind === 'create' || kind === 'mkdir' || kind === 'unlink' || kind === 'rmdir' || kind === 'rename' || kind === 'link' || kind === 'truncate'
}

function forget (operation: Operation): void {
  if (operation.call.kind !== 'write') operation.void = true
  operation.outcome = 'unknown'
  operation.returned = Infinity
}

export function describe ({ id, client, call, outcome, code, result, at, invoked, returned }: Operation): string {
  const { kind, ...args } = call
  const ended = outcome === 'well' ? JSON.stringify(result) : outcome === 'refused' ? code : `unknown ${code ?? ''}`
  return `#${id} ${at.toFixed(0)} ms ${client} [${invoked}, ${returned}] ${kind} ${JSON.stringify(args)} -> ${ended}`
}
