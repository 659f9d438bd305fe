import type { Logger } from '../fsnode/protocol/ports.ts'

/** For programs that did not ask for a log. */
export const silentLog: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => silentLog
}
