import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

// Runs mocha on the Node that runs this file: all tests, or the files and folders named as arguments.
const root = fileURLToPath(new URL('..', import.meta.url))
const mocha = fileURLToPath(import.meta.resolve('mocha/bin/mocha.js'))
const named = process.argv.slice(2).filter((word) => !word.startsWith('-'))
const flags = process.argv.slice(2).filter((word) => word.startsWith('-'))
const files = named.length === 0 ? ['test/**/*.test.ts'] : named.map((name) => name.endsWith('.ts') ? name : `${name}/**/*.test.ts`)
const run = spawnSync(process.execPath, [
  '--disable-warning=ExperimentalWarning', mocha, '--reporter', 'test/reporter.cjs', '--require', 'test/property-seed.ts', '--timeout', '20000', '--exit', ...flags, ...files
], { cwd: root, stdio: 'inherit' })
process.exitCode = run.status ?? 1
