import Table from 'cli-table3'
import ora from 'ora'
import { AtollError, codeOf, messageOf } from '../fsnode/protocol/errors.ts'

/** Exit codes, the same for every command. */
export const exitCode = { well: 0, failed: 1, usage: 2, unreachable: 3 } as const

const unreachableCodes = new Set(['ATOLL_CLUSTER_UNREACHABLE', 'ATOLL_UNREACHABLE', 'ATOLL_CONNECTION_LOST', 'ATOLL_TIMEOUT', 'ATOLL_NO_CLUSTER'])
const usageCodes = new Set(['ATOLL_USAGE', 'ATOLL_BAD_ARGUMENT'])

export function exitCodeOf (error: unknown): number {
  const code = codeOf(error)
  if (unreachableCodes.has(code)) return exitCode.unreachable
  return usageCodes.has(code) ? exitCode.usage : exitCode.failed
}

export function printError (error: unknown): void {
  const text = error instanceof AtollError ? error.toString() : `${codeOf(error)}: ${messageOf(error)}`
  process.stderr.write(`atoll: ${text}\n`)
}

export function print (line = ''): void { process.stdout.write(`${line}\n`) }

export function printJson (value: unknown): void { print(JSON.stringify(value, null, 2)) }

const bare = {
  top: '', 'top-mid': '', 'top-left': '', 'top-right': '', bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '',
  left: '', 'left-mid': '', mid: '', 'mid-mid': '', right: '', 'right-mid': '', middle: '  '
}

/** Rows under headings, without lines, so that a pipe can cut them. */
export function printTable (head: string[], rows: Array<Array<string | number>>): void {
  const table = new Table({ head, chars: bare, style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] } })
  table.push(...rows)
  print(table.toString())
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

export function formatBytes (bytes: number): string {
  let value = bytes
  let unit = 0
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024
  return `${unit === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`
}

export interface Progress {
  step (text: string): void
  done (text: string): void
  fail (): void
}

/** A spinner on a terminal; elsewhere one line a step on standard error. */
export function startProgress (quiet = false): Progress {
  if (quiet) return { step () {}, done () {}, fail () {} }
  const began = performance.now()
  const seconds = (): string => `${((performance.now() - began) / 1000).toFixed(1)} s`
  if (!process.stderr.isTTY) {
    return {
      step (text) { process.stderr.write(`${text}\n`) },
      done (text) { process.stderr.write(`${text} (${seconds()})\n`) },
      fail () {}
    }
  }
  const spinner = ora({ discardStdin: false }).start()
  return {
    step (text) { spinner.text = text },
    done (text) { spinner.succeed(`${text} (${seconds()})`) },
    fail () { spinner.stop() }
  }
}
