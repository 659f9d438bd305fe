import { cellBytes, describe, type History, type Operation } from '../history.ts'
import { linearize, type Step } from '../linearize.ts'
import type { CheckResult } from './tree.ts'

const nodesMax = 200_000

interface SizeStep extends Step<number> { operation: Operation }

/** The size of each file is linearizable: writes extend it, truncations set it, everybody sees the last one. */
export function checkSizes (history: History): CheckResult {
  const byFile = new Map<number, SizeStep[]>()
  for (const operation of history.operations) {
    const found = stepOf(operation)
    if (found === null) continue
    const steps = byFile.get(found.ino)
    if (steps === undefined) byFile.set(found.ino, [found.step])
    else steps.push(found.step)
  }
  const faults: string[] = []
  let undecided = 0
  for (const [ino, steps] of byFile) {
    const verdict = linearize(0, steps, String, nodesMax)
    if (verdict.outcome === 'undecided') undecided++
    if (verdict.outcome !== 'violation') continue
    const stuck = (verdict.stuck as SizeStep[]).map(({ operation }) => describe(operation))
    const changes = steps.map(({ operation }) => operation).filter(({ call }) => call.kind === 'write' || call.kind === 'truncate').map(describe)
    faults.push(`the size ${verdict.state} of inode ${ino} does not explain\n    ${stuck.join('\n    ')}\n  changed by\n    ${changes.join('\n    ')}`)
  }
  return { faults, undecided }
}

function stepOf (operation: Operation): { ino: number, step: SizeStep } | null {
  const { call, outcome, result, invoked, returned } = operation
  const step = (ino: number, apply: (size: number) => number[]): { ino: number, step: SizeStep } => ({ ino, step: { operation, invoked, returned, apply } })
  const well = outcome === 'well'
  switch (call.kind) {
    case 'write': {
      const extended = (size: number): number => Math.max(size, (call.cell + call.cells) * cellBytes)
      return step(call.ino, outcome === 'partial' ? (size) => [size, extended(size)] : (size) => [extended(size)])
    }
    case 'truncate':
      return outcome === 'refused' ? null : step(call.ino, outcome === 'partial' ? (size) => [size, call.cells * cellBytes] : () => [call.cells * cellBytes])
    case 'read':
      return well ? step(call.ino, (size) => Math.max(0, Math.min(call.cells * cellBytes, size - call.cell * cellBytes)) === result.size ? [size] : []) : null
    case 'getattr':
      return well && result.directory === false ? step(call.ino, (size) => size === result.size ? [size] : []) : null
    case 'lookup':
      return well && result.directory === false ? step(result.ino!, (size) => size === result.size ? [size] : []) : null
    default:
      return null
  }
}
