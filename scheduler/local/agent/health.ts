import type { Clock } from '../../../fsnode/protocol/ports.ts'
import type { HealthCheck } from '../../mesos/types.ts'
import { boundedMs, connects, exitCodeOf, httpStatusOf } from './probe.ts'
import { Repeated } from './repeated.ts'

export interface HealthCheckInit {
  check: HealthCheck
  /** Where commands run. */
  directory: string
  /** `kill`: it has failed too often in a row. Called for each failure that counts, and for each change to the better. */
  onChange: (healthy: boolean, kill: boolean) => void
}

/** Asks a task again and again whether it is well, with Mesos's delays and counts. */
export function beginHealthCheck (components: { clock: Clock }, { check, directory, onChange }: HealthCheckInit): Repeated<boolean> {
  const { clock } = components
  const { delay_seconds: delaySeconds = 15, interval_seconds: intervalSeconds = 10, grace_period_seconds: grace = 10, consecutive_failures: failuresMax = 3 } = check
  const startedMs = clock.now()
  let failures = 0
  let healthy: boolean | undefined
  return new Repeated(components, {
    delaySeconds,
    intervalSeconds,
    ask: () => ask(check, directory),
    learn: (well) => {
      if (well === true) {
        failures = 0
        if (healthy !== true) onChange(true, false)
        healthy = true
      } else if (healthy !== undefined || clock.now() >= startedMs + grace * 1000) {
        failures++
        healthy = false
        onChange(false, failures >= failuresMax)
      }
    }
  })
}

async function ask (check: HealthCheck, directory: string): Promise<boolean> {
  const timeoutMs = boundedMs(check.timeout_seconds ?? 20)
  switch (check.type) {
    case 'COMMAND': return await exitCodeOf(check.command!, directory, timeoutMs) === 0
    case 'TCP': return connects(check.tcp!.port, timeoutMs)
    case 'HTTP': {
      const status = await httpStatusOf(check.http!, timeoutMs)
      return status !== undefined && status >= 200 && status < 400
    }
  }
}
