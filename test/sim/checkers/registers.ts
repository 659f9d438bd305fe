import { describe, type History, type Operation } from '../history.ts'
import { linearize, type Step } from '../linearize.ts'
import type { CheckResult } from './tree.ts'

const nodesMax = 200_000

/**
 * What a cell holds, what it may hold after a loss of power (values since the last sync), and whose value such a loss took
 * away and has not been replaced since.
 */
interface Cell { value: number, client: string, older: ReadonlyMap<number, string>, losers: ReadonlySet<string> }

const noLosers: ReadonlySet<string> = new Set()

interface CellStep extends Step<Cell> { operation: Operation | null }

interface Access { kind: 'write' | 'read' | 'sync' | 'told', value: number, operation: Operation }

/**
 * Each cell of each file is a linearizable register: a read sees the last acknowledged write or one that was under
 * way; a write of unknown outcome happens at any time, once, or never. After all machines lost power
 * at once, a cell holds what it held at the last fsync by whoever wrote it, or anything newer; whoever wrote what is gone must
 * be told of it before an fsync succeeds.
 */
export function checkRegisters (history: History): CheckResult {
  const faults: string[] = []
  let undecided = 0
  for (const [ino, cells] of accesses(history)) {
    for (const [cell, found] of cells) {
      const verdict = check(history, found)
      if (verdict === 'undecided') undecided++
      else if (verdict !== null) faults.push(`inode ${ino}, cell ${cell}: ${verdict}`)
    }
  }
  return { faults, undecided }
}

/** By inode and cell, in the order of their beginnings. */
function accesses (history: History): Map<number, Map<number, Access[]>> {
  const files = new Map<number, Map<number, Access[]>>()
  const add = (ino: number, cell: number, access: Access): void => {
    let cells = files.get(ino)
    if (cells === undefined) files.set(ino, cells = new Map())
    const known = cells.get(cell)
    if (known === undefined) cells.set(cell, [access])
    else known.push(access)
  }
  // Only cells that somebody wrote can hold anything else than zeros, and reads of others are looked at, too.
  const touched = new Map<number, Set<number>>()
  for (const { call } of history.operations) {
    if (call.kind !== 'write' && call.kind !== 'read') continue
    let cells = touched.get(call.ino)
    if (cells === undefined) touched.set(call.ino, cells = new Set())
    for (let at = 0; at < call.cells; at++) cells.add(call.cell + at)
  }
  for (const operation of history.operations) {
    const { call, outcome, id, result, code } = operation
    if (call.kind === 'write') {
      for (let at = 0; at < call.cells; at++) add(call.ino, call.cell + at, { kind: 'write', value: id, operation })
    } else if (call.kind === 'read' && outcome === 'well') {
      for (let at = 0; at < call.cells; at++) add(call.ino, call.cell + at, { kind: 'read', value: result.values![at]!, operation })
    } else if (call.kind === 'truncate' && outcome !== 'refused') {
      for (const cell of touched.get(call.ino) ?? []) if (cell >= call.cells) add(call.ino, cell, { kind: 'write', value: 0, operation })
    } else if (call.kind === 'sync' && outcome === 'well') {
      for (const cell of touched.get(call.ino) ?? []) add(call.ino, cell, { kind: 'sync', value: 0, operation })
    }
    if ((call.kind === 'write' || call.kind === 'sync' || call.kind === 'flush') && code === 'EIO') {
      for (const cell of touched.get(call.ino) ?? []) add(call.ino, cell, { kind: 'told', value: 0, operation })
    }
  }
  return files
}

function check (history: History, found: Access[]): string | 'undecided' | null {
  const lossy = history.powerLosses.length > 0
  const steps = found.filter(({ kind }) => lossy || kind === 'write' || kind === 'read').map((access) => stepOf(access, lossy))
  for (const loss of history.powerLosses) steps.push({ ...loss, operation: null, apply: losses })
  const verdict = linearize<Cell>({ value: 0, client: '', older: new Map(), losers: noLosers }, steps, keyOfCell, nodesMax)
  if (verdict.outcome === 'linearizable') return null
  if (verdict.outcome === 'undecided') return 'undecided'
  const stuck = (verdict.stuck as CellStep[]).map(({ operation }) => operation === null ? 'the loss of power' : describe(operation))
  const related = found.filter(({ kind }) => kind === 'write').map(({ operation }) => describe(operation))
  return `holds ${verdict.state.value}, which does not explain\n    ${stuck.join('\n    ')}\n  written by\n    ${related.join('\n    ')}`
}

function stepOf ({ kind, value, operation }: Access, lossy: boolean): CellStep {
  const { invoked, returned, client } = operation
  const apply = (cell: Cell): Cell[] => {
    if (kind === 'read') return cell.value === value ? [cell] : []
    if (kind === 'write') {
      const written = { value, client, older: lossy ? new Map(cell.older).set(cell.value, cell.client) : cell.older, losers: noLosers }
      return operation.outcome === 'partial' ? [cell, written] : [written]
    }
    if (kind === 'told') return [{ ...cell, losers: new Set([...cell.losers].filter((loser) => loser !== client)) }]
    if (cell.losers.has(client)) return []
    return [cell.client === client ? { ...cell, older: new Map() } : cell]
  }
  return { operation, invoked, returned, apply }
}

/** Power is lost: each value since the last sync may be what is left, and replicas may still hold the others. */
function losses (cell: Cell): Cell[] {
  const all = new Map(cell.older).set(cell.value, cell.client)
  return [...all].map(([value, client]) => {
    const older = new Map(all)
    older.delete(value)
    return { value, client, older, losers: value === cell.value ? cell.losers : new Set(cell.losers).add(cell.client) }
  })
}

function keyOfCell ({ value, client, older, losers }: Cell): string {
  return `${value} ${client} ${[...older.keys()].sort().join()} ${[...losers].sort().join()}`
}
