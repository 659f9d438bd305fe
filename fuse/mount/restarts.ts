/** After this long in service, a worker's death counts as the first again. Milliseconds. */
export const stableAfterMs = 30_000
export const restartDelayMsMin = 100
export const restartDelayMsMax = 5000

/** How long to wait before worker number `failures` + 1: at once after one death, then ever longer up to a bound. */
export function restartDelayMs (failures: number): number {
  return failures <= 1 ? 0 : Math.min(restartDelayMsMax, restartDelayMsMin * 2 ** (failures - 2))
}
