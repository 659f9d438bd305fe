import { describe, type Call, type History, type Operation } from '../history.ts'
import { linearize, type Step } from '../linearize.ts'
import { applyToTree, emptyTree, keyOfTree, type Tree } from './tree-model.ts'

/** Places that the search may look at, for each operation. */
const nodesPerOperation = 400
const looks = new Set<Call['kind']>(['lookup', 'getattr', 'readdir'])
const changes = new Set<Call['kind']>(['create', 'mkdir', 'unlink', 'rmdir', 'rename', 'link'])

export interface CheckResult { faults: string[], undecided: number }

/**
 * All names, inodes and link counts together are linearizable: there is one order of all operations, each
 * between its beginning and its end, in which a simple file system gives every outcome that was seen.
 */
export function checkTree (history: History): CheckResult {
  const steps = history.operations.flatMap((operation) => stepsOf(operation))
  const verdict = linearize(emptyTree, steps, keyOfTree, nodesPerOperation * (steps.length + 1))
  if (verdict.outcome !== 'violation') return { faults: [], undecided: verdict.outcome === 'undecided' ? 1 : 0 }
  const stuck = (verdict.stuck as TreeStep[]).map(({ operation, call }) => `${describe(operation)}${call === operation.call ? '' : ` (as ${call.kind})`}`)
  return { faults: [`not linearizable; cannot be explained:\n    ${stuck.join('\n    ')}\n    in ${keyOfTree(verdict.state)}`], undecided: 0 }
}

interface TreeStep extends Step<Tree> { operation: Operation, call: Call }

function stepsOf (operation: Operation): TreeStep[] {
  const { call, outcome, result } = operation
  if (!changes.has(call.kind) && (outcome === 'unknown' || !looks.has(call.kind))) return []
  const steps = [stepOf(operation, call)]
  // A name and what it stands for may be looked at one after the other.
  if (call.kind === 'lookup' && outcome === 'well' && result.nlink !== undefined) steps.push(stepOf(operation, { kind: 'getattr', ino: result.ino! }))
  return steps
}

function stepOf (operation: Operation, call: Call): TreeStep {
  const { invoked, returned, outcome, result, code } = operation
  return { operation, call, invoked, returned, apply: (tree) => applyToTree(tree, call, outcome, result, code) }
}
