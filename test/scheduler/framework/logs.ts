import type { Logger } from '../../../fsnode/protocol/ports.ts'

export const errors: string[] = []
export const quietLog: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: (message, fields) => { errors.push(`${message} ${JSON.stringify(fields)}`) },
  child: () => quietLog
}
