import { randomBytes } from 'node:crypto'
import type { Clock, Random } from './ports.ts'

const wallOriginNs = BigInt(Math.round(performance.timeOrigin * 1000)) * 1000n

/** The machine's own clock. Wall time is read anew at each call, so that it follows corrections. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallNs: () => {
    // Date.now() follows the machine's clock but counts milliseconds; the monotonic clock adds the digits below.
    const monotonicNs = wallOriginNs + BigInt(Math.round(performance.now() * 1e6))
    const wallMs = BigInt(Date.now())
    const digits = monotonicNs % 1_000_000n
    return wallMs * 1_000_000n + digits
  },
  setTimer: (callback, delayMs) => {
    const timer = setTimeout(callback, delayMs)
    return { cancel: () => { clearTimeout(timer) } }
  }
}

export const systemRandom: Random = {
  next: () => randomBytes(6).readUIntBE(0, 6) / 2 ** 48,
  bytes: (length) => randomBytes(length)
}
