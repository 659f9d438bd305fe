export function majorityOf (members: number): number {
  return Math.floor(members / 2) + 1
}

/** The largest value that a majority has reached. `values` is sorted in place; -Infinity without members. */
export function reachedByMajority (values: number[]): number {
  if (values.length === 0) return -Infinity
  if (values.length === 1) return values[0]!
  values.sort(descending)
  return values[majorityOf(values.length) - 1]!
}

const descending = (one: number, other: number): number => other - one
