import type { Clock } from '../../../fsnode/protocol/ports.ts'
import type { CheckInfo, CheckStatus } from '../core/state.ts'
import { boundedMs, connects, exitCodeOf, httpStatusOf } from './probe.ts'
import { Repeated } from './repeated.ts'

export interface CheckInit {
  check: CheckInfo
  /** Where commands run. */
  directory: string
  onChange: (status: CheckStatus) => void
}

/** Asks a task again and again, and tells each answer that is another than the one before. Nothing follows from it. */
export function beginCheck (components: { clock: Clock }, { check, directory, onChange }: CheckInit): Repeated<CheckStatus> {
  let told = ''
  return new Repeated(components, {
    delaySeconds: check.delay_seconds ?? 15,
    intervalSeconds: check.interval_seconds ?? 10,
    ask: () => ask(check, directory),
    learn: (status) => {
      const text = JSON.stringify(status)
      if (status !== undefined && text !== told) onChange(status)
      told = text
    }
  })
}

async function ask ({ type, command, tcp, http, timeout_seconds: timeout = 20 }: CheckInfo, directory: string): Promise<CheckStatus> {
  const timeoutMs = boundedMs(timeout)
  switch (type) {
    case 'COMMAND': {
      const code = await exitCodeOf(command!.command, directory, timeoutMs)
      return { type, command: code === undefined ? {} : { exit_code: code } }
    }
    case 'TCP': return { type, tcp: { succeeded: await connects(tcp!.port, timeoutMs) } }
    case 'HTTP': {
      const status = await httpStatusOf(http!, timeoutMs)
      return { type, http: status === undefined ? {} : { status_code: status } }
    }
  }
}
