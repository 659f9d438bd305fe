#!/usr/bin/env node
import { Command, CommanderError } from 'commander'
import { benchCommand } from './commands/bench.ts'
import { downCommand } from './commands/down.ts'
import { mountCommand, umountCommand } from './commands/mount.ts'
import { nodeCommand } from './commands/node.ts'
import { partitionCommand } from './commands/partition.ts'
import { schedulerCommand } from './commands/scheduler.ts'
import { scrubCommand } from './commands/scrub.ts'
import { statusCommand } from './commands/status.ts'
import { upCommand } from './commands/up.ts'
import { volumeCommand } from './commands/volume.ts'
import { exitCode, exitCodeOf, printError } from './output.ts'

const program = new Command('atoll')
  .description('a distributed file system that runs as a scheduler framework')
  .version('0.1.0')
  .showHelpAfterError('(see: atoll help)')
  .exitOverride()

for (const add of [
  upCommand, downCommand, statusCommand, mountCommand, umountCommand, volumeCommand, partitionCommand, nodeCommand,
  scrubCommand, benchCommand, schedulerCommand
]) add(program)
// Subcommands inherit none of this by themselves.
const everyCommand = (command: Command): Command[] => [command, ...command.commands.flatMap(everyCommand)]
for (const command of everyCommand(program)) command.exitOverride().showHelpAfterError(`(see: ${pathOf(command)} --help)`)

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? exitCode.well : exitCode.usage
  } else {
    printError(error)
    process.exitCode = exitCodeOf(error)
  }
}
// Connections that are still being closed must not hold a command back.
process.exit()

function pathOf (command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`
}
