import { seedOfCode } from '../sim/seed-of-code.ts'

/** Times as many trials as usual of each property: ATOLL_PLACEMENT_TRIALS=50 for a long run. */
export const times = Number(process.env['ATOLL_PLACEMENT_TRIALS'] ?? 1)

/** Where trials that draw their own values begin: elsewhere after each change of the code, as properties do. */
export const firstSeed = Number(process.env['ATOLL_SEED'] ?? seedOfCode())

export function trials (count: number): { numRuns: number } { return { numRuns: Math.ceil(count * times) } }
