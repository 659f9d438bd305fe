/** After this long in service, a worker's death counts as the first again. Milliseconds. */
export const stableAfterMs = 30_000
export const restartDelayMsMin = 100
/** With the time that a worker takes to start, well below what a session's leases hold: else what it had decided would be given up. */
export const restartDelayMsMax = 1_500

/** How long to wait before worker number `failures` + 1: at once after one death, then ever longer up to a bound. */
export function restartDelayMs (failures: number): number {
  return failures <= 1 ? 0 : Math.min(restartDelayMsMax, restartDelayMsMin * 2 ** (failures - 2))
}
