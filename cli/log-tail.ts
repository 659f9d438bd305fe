import { readFileSync } from 'node:fs'
import { AtollError } from '../fsnode/protocol/errors.ts'

/** Why a background process ended: the error that its log closes with. */
export function lastError (logFile: string, what: string): AtollError {
  let text = ''
  try {
    text = readFileSync(logFile, 'utf8')
  } catch {
    // No log: nothing to add.
  }
  const found = [...text.matchAll(/^atoll: (ATOLL_[A-Z_]+): (.*)(?:\n {2}(.*))?/gm)].at(-1)
  if (found !== undefined) return new AtollError(found[1]!, found[2]!, { ...(found[3] !== undefined && { hint: found[3] }) })
  return new AtollError('ATOLL_PROCESS_DIED', `${what} ended unexpectedly`, { hint: `its log: ${logFile}` })
}
