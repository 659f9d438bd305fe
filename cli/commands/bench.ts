import { resolve } from 'node:path'
import { existsSync, writeFileSync } from 'node:fs'
import type { Command } from 'commander'
import { directoryTarget, runPhases, sizesFull, sizesQuick } from '../../bench/run-phases.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { printJson, printTable, startProgress } from '../output.ts'

export function benchCommand (program: Command): void {
  program.command('bench <dir>')
    .description('measure a directory: a mount, or a local one to compare with')
    .option('--quick', 'smaller files: some seconds')
    .option('--json', 'for programs')
    .action(async (dir: string, options: { quick?: boolean, json?: boolean }) => {
      if (!existsSync(dir)) throw new AtollError('ATOLL_BAD_ARGUMENT', `there is no directory ${resolve(dir)}`, { hint: 'what is mounted: atoll status' })
      const progress = startProgress(options.json)
      const results = await runPhases(directoryTarget(dropKernelCaches), resolve(dir), options.quick === true ? sizesQuick : sizesFull, (phase, { rate, unit }) => {
        progress.step(`${phase}: ${rate.toFixed(0)} ${unit}`)
      })
      progress.done('measured')
      if (options.json === true) printJson(results)
      else printTable(['PHASE', 'RATE', 'UNIT'], Object.entries(results).map(([phase, measured]) => [phase, measured!.rate.toFixed(0), measured!.unit]))
    })
}

/** Needs root; without it reads come from the kernel's memory, and show it. */
export async function dropKernelCaches (): Promise<void> {
  try {
    writeFileSync('/proc/sys/vm/drop_caches', '3')
  } catch {
    // Not root.
  }
}
