import { readFileSync } from 'node:fs'
import { AtollError } from '../fsnode/protocol/errors.ts'

/** Why a background process ended: the error that its log closes with, from `offsetBytes` on; otherwise `reason`. */
export function lastError (logFile: string | null, what: string, offsetBytes = 0, reason = 'it wrote no error'): AtollError {
  let text = ''
  try {
    if (logFile !== null) text = readFileSync(logFile).subarray(offsetBytes).toString('utf8')
  } catch {
    // No log: nothing to add.
  }
  const found = [...text.matchAll(/^atoll: (ATOLL_[A-Z_]+): (.*)(?:\n {2}(.*))?/gm)].at(-1)
  const log = logFile === null ? '' : `its log: ${logFile}`
  if (found !== undefined) return new AtollError(found[1]!, `${what}: ${found[2]!}`, { hint: found[3] ?? log })
  return new AtollError('ATOLL_PROCESS_DIED', `${what} ended unexpectedly: ${reason}`, { hint: log })
}
