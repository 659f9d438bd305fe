import type { Clock, Timer } from './ports.ts'

/**
 * What the first attempt that succeeds gives. Each begins when the one before it has failed, or has taken `doubtMs` without an end;
 * those that are not needed any more go on unheard. Rejects with the last failure when all have failed.
 */
export function firstOf<T> (attempts: ReadonlyArray<() => Promise<T>>, doubtMs: number, clock: Clock): Promise<T> {
  return new Promise((resolve, reject) => {
    let begun = 0
    let failed = 0
    let isOver = false
    let timer: Timer | null = null
    const begin = (): void => {
      timer?.cancel()
      if (isOver || begun === attempts.length) return
      if (begun + 1 < attempts.length) timer = clock.setTimer(begin, doubtMs)
      attempts[begun++]!().then((value) => {
        isOver = true
        timer?.cancel()
        resolve(value)
      }, (error) => {
        if (++failed === attempts.length) reject(error)
        else begin()
      })
    }
    begin()
  })
}
