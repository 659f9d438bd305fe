import type { Logger } from '../../fsnode/protocol/ports.ts'

export interface LogLine { level: 'debug' | 'info' | 'warn' | 'error', who: string, message: string, fields: Record<string, unknown> }

/** A logger that hands each line on with the name of who said it. */
export function simLogger (who: string, take: (line: LogLine) => void, bindings: Record<string, unknown> = {}): Logger {
  const at = (level: LogLine['level']) => (message: string, fields: Record<string, unknown> = {}): void => {
    take({ level, who, message, fields: { ...bindings, ...fields } })
  }
  return {
    debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'),
    child: (more) => simLogger(who, take, { ...bindings, ...more })
  }
}
