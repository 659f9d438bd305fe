import { readFileSync } from 'node:fs'

/**
 * Whether the process was killed, but does not end: its main thread is a zombie, and another one waits in the kernel
 * where no signal reaches it. The parent is not told of such a death. False for a process that is not there.
 */
export function isDeadButHeld (pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name in parentheses may hold anything.
    const [state, , , , , , , , , , , , , , , , , threads] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return state === 'Z' && Number(threads) > 1
  } catch {
    return false
  }
}
