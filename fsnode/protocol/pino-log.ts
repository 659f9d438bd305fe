import { destination, pino } from 'pino'
import type { Logger } from './ports.ts'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

/** One JSON object a line on standard error (ATOLL_LOG_LEVEL: debug, info, warn, error, silent). */
export function createLogger (name: string, level: string = process.env.ATOLL_LOG_LEVEL ?? 'info'): Logger {
  return wrap(pino({ name, level, base: { name, pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime }, destination({ fd: 2, sync: false })))
}

function wrap (log: pino.Logger): Logger {
  return {
    debug: (message, fields) => { log.debug(fields, message) },
    info: (message, fields) => { log.info(fields, message) },
    warn: (message, fields) => { log.warn(fields, message) },
    error: (message, fields) => { log.error(fields, message) },
    child: (bindings) => wrap(log.child(bindings))
  }
}

export const silentLog: Logger = { debug () {}, info () {}, warn () {}, error () {}, child: () => silentLog }
