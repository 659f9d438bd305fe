import { spawn } from 'node:child_process'
import { setPriority } from 'node:os'
import { fileURLToPath } from 'node:url'
import { heldBack } from './held-back.ts'

/*
 * Runs mocha on the Node that runs this file: all tests, or the files and folders named as arguments.
 * All tests are two runs side by side: whole clusters, which mostly wait, and all else, which gives way to them.
 */
const root = fileURLToPath(new URL('..', import.meta.url))
const mocha = fileURLToPath(import.meta.resolve('mocha/bin/mocha.js'))
const named = process.argv.slice(2).filter((word) => !word.startsWith('-'))
const flags = process.argv.slice(2).filter((word) => word.startsWith('-'))
const wholeClusters = 'test/e2e/**/*.test.ts'
/** What gives way may take longer. */
const yieldingTimeoutMs = 60_000
const yieldingNiceness = 10
const outputGraceMs = 2_000

interface Counts { passes: number, failures: number, pending: number }
interface Run { files: string[], timeoutMs?: number, ignore?: string, niceness?: number }

/** Mocha's counts; none of them if it could not even begin. */
async function play ({ files, timeoutMs = 20_000, ignore, niceness = 0 }: Run, write: (text: Buffer) => void): Promise<Counts | null> {
  const isTerminal = process.stdout.isTTY
  const run = spawn(process.execPath, [
    '--disable-warning=ExperimentalWarning', mocha, '--reporter', 'test/reporter.cjs', '--require', 'test/property-seed.ts', '--timeout', `${timeoutMs}`, '--exit',
    ...(ignore === undefined ? [] : ['--ignore', ignore]), ...flags, ...files
  ], { cwd: root, env: { ...process.env, ...(isTerminal && { FORCE_COLOR: '1' }) }, stdio: ['ignore', 'pipe', 'pipe', 'pipe'] })
  if (niceness > 0) setPriority(run.pid!, niceness)
  let counts = ''
  run.stdio[3]!.on('data', (text: Buffer) => { counts += text.toString() })
  for (const stream of [run.stdout!, run.stderr!]) stream.on('data', write)
  const code = await new Promise<number | null>((resolve) => {
    run.once('close', resolve)
    // Whatever a test left behind may hold the pipes.
    run.once('exit', (exitCode) => { setTimeout(() => { resolve(exitCode) }, outputGraceMs).unref() })
  })
  if (code !== 0) process.exitCode = 1
  return counts === '' ? null : JSON.parse(counts)
}

// The runs are told, too, and end as mocha does.
process.on('SIGINT', () => { process.exitCode = 130 })
const files = named.map((name) => name.endsWith('.ts') ? name : `${name}/**/*.test.ts`)
const runs: Run[] = named.length > 0
  ? [{ files }]
  : [{ files: ['test/**/*.test.ts'], ignore: wholeClusters, timeoutMs: yieldingTimeoutMs, niceness: yieldingNiceness }, { files: [wholeClusters] }]
const outputs = heldBack(runs.length, (text) => { process.stdout.write(text) })
const played = await Promise.all(runs.map(async (run, index) => {
  const counts = await play(run, outputs[index]!.write)
  outputs[index]!.end()
  return counts
}))
const sum = (of: (counts: Counts) => number): number => played.reduce((total, counts) => total + (counts === null ? 0 : of(counts)), 0)
const [passed, pending] = [sum(({ passes }) => passes), sum(({ pending }) => pending)]
// A run that did not get to its end has failed, whatever it counted.
const failed = sum(({ failures }) => failures) + played.filter((counts) => counts === null).length
console.log(`${passed} passed, ${failed} failed${pending > 0 ? `, ${pending} skipped` : ''}`)
if (failed > 0) process.exitCode ||= 1
process.exit()
