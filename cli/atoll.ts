#!/usr/bin/env node
import { Command, CommanderError } from 'commander'
import { exitCode, exitCodeOf, printError } from './output.ts'

type AddCommand = (program: Command) => void

/** Each command's modules are loaded only when it is named: a command starts fast. */
const commands: Record<string, () => Promise<AddCommand>> = {
  up: async () => (await import('./commands/up.ts')).upCommand,
  down: async () => (await import('./commands/down.ts')).downCommand,
  status: async () => (await import('./commands/status.ts')).statusCommand,
  mount: async () => (await import('./commands/mount.ts')).mountCommand,
  umount: async () => (await import('./commands/mount.ts')).umountCommand,
  volume: async () => (await import('./commands/volume.ts')).volumeCommand,
  partition: async () => (await import('./commands/partition.ts')).partitionCommand,
  node: async () => (await import('./commands/node.ts')).nodeCommand,
  scrub: async () => (await import('./commands/scrub.ts')).scrubCommand,
  fsck: async () => (await import('./commands/fsck.ts')).fsckCommand,
  simulate: async () => (await import('./commands/simulate.ts')).simulateCommand,
  bench: async () => (await import('./commands/bench.ts')).benchCommand,
  scheduler: async () => (await import('./commands/scheduler.ts')).schedulerCommand
}

const program = new Command('atoll')
  .description('a distributed file system that runs as a scheduler framework')
  .version('0.1.0')

const named = commands[process.argv[2] ?? '']
for (const load of named === undefined ? Object.values(commands) : [named]) (await load())(program)
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
await Promise.all([process.stdout, process.stderr].map(written))
// Connections that are still being closed must not hold a command back.
process.exit()

/** Resolves when whoever reads the stream has all of it, or has gone away. */
function written (stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    stream.once('error', () => { resolve() })
    stream.write('', () => { resolve() })
  })
}

function pathOf (command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`
}
