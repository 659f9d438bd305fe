export interface Step<S> {
  /** Places in the order of all beginnings and ends; `returned` Infinity: no end was seen, the step may be left out. */
  invoked: number
  returned: number
  /** The states that it may lead to with the outcome that was seen; none: not possible here. */
  apply (state: S): S[]
}

export type Verdict<S> =
  | { outcome: 'linearizable' }
  /** `stuck`: the steps that had ended and could not be placed, where the search got furthest; `state`: what it had found there. */
  | { outcome: 'violation', stuck: Array<Step<S>>, state: S }
  /** The search was given up. */
  | { outcome: 'undecided' }

/** A place in the search: steps with an end before `front` are all placed, and of the others these. */
interface Node<S> { state: S, front: number, ahead: ReadonlySet<number>, open: ReadonlySet<number> }

/**
 * Looks for an order of the steps in which each has a place between its beginning and its end and all outcomes
 * are explained (Wing and Gong, with the memory of Lowe). Gives up after `nodesMax` places.
 */
export function linearize<S> (initial: S, steps: ReadonlyArray<Step<S>>, keyOf: (state: S) => string, nodesMax: number): Verdict<S> {
  const search = new Search(steps)
  const seen = new Set<string>()
  const stack: Array<Node<S>> = [{ state: initial, front: 0, ahead: new Set(), open: new Set() }]
  let furthest = stack[0]!
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    const key = `${node.front} ${[...node.ahead].sort().join()} ${[...node.open].sort().join()} ${keyOf(node.state)}`
    if (seen.has(key)) continue
    seen.add(key)
    if (seen.size > nodesMax) return { outcome: 'undecided' }
    if (node.front === search.ended.length) return { outcome: 'linearizable' }
    if (node.front + node.ahead.size > furthest.front + furthest.ahead.size) furthest = node
    stack.push(...search.successors(node))
  }
  return { outcome: 'violation', stuck: search.candidates(furthest).map((at) => search.ended[at]!), state: furthest.state }
}

class Search<S> {
  /** In order of their beginnings, as are those without an end. */
  readonly ended: ReadonlyArray<Step<S>>
  private readonly open: ReadonlyArray<Step<S>>

  constructor (steps: ReadonlyArray<Step<S>>) {
    const sorted = [...steps].sort((one, other) => one.invoked - other.invoked)
    this.ended = sorted.filter(({ returned }) => returned !== Infinity)
    this.open = sorted.filter(({ returned }) => returned === Infinity)
  }

  /** The steps with an end that may be next: they began before any step that is not placed had ended. */
  candidates ({ front, ahead }: Node<S>): number[] {
    const { ended } = this
    const found: number[] = []
    let firstEnd = Infinity
    for (let at = front; at < ended.length && ended[at]!.invoked < firstEnd; at++) {
      if (ahead.has(at)) continue
      found.push(at)
      firstEnd = Math.min(firstEnd, ended[at]!.returned)
    }
    return found.filter((at) => ended[at]!.invoked < firstEnd)
  }

  /** The one to be tried first comes last: what ended first, and what nobody saw the end of only then. */
  successors (node: Node<S>): Array<Node<S>> {
    const { ended, open } = this
    const next: Array<Node<S>> = []
    const candidates = this.candidates(node).sort((one, other) => ended[other]!.returned - ended[one]!.returned)
    const firstEnd = ended[candidates[candidates.length - 1]!]!.returned
    for (let at = open.length - 1; at >= 0; at--) {
      if (open[at]!.invoked >= firstEnd || node.open.has(at)) continue
      for (const state of open[at]!.apply(node.state)) next.push({ ...node, state, open: new Set(node.open).add(at) })
    }
    for (const at of candidates) {
      for (const state of ended[at]!.apply(node.state)) next.push({ ...place(node, at), state })
    }
    return next
  }
}

function place ({ front, ahead, open }: Node<unknown>, at: number): Omit<Node<never>, 'state'> {
  const next = new Set(ahead).add(at)
  let newFront = front
  while (next.delete(newFront)) newFront++
  return { front: newFront, ahead: next, open }
}
