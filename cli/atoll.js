#!/usr/bin/env node
// The command as it is installed. Plain JavaScript that an old Node understands too: it goes on with a Node that runs
// the TypeScript sources (the project's own, when the one that started it is too old).
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import module from 'node:module'
import { fileURLToPath } from 'node:url'

const versionMin = [22, 18]
const ownNode = fileURLToPath(new URL('../node_modules/node/bin/node', import.meta.url))
const [major, minor] = process.versions.node.split('.').map(Number)

if (major > versionMin[0] || (major === versionMin[0] && minor >= versionMin[1])) {
  // Compiled code is kept beside the packages: every process of a cluster starts in a fraction of the time.
  process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('../node_modules/.cache/atoll', import.meta.url))
  module.enableCompileCache(process.env.NODE_COMPILE_CACHE)
  await import('./atoll.ts')
} else if (existsSync(ownNode) && process.execPath !== ownNode) {
  const child = spawn(ownNode, process.argv.slice(1), { stdio: 'inherit' })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => { child.kill(signal) })
  child.on('error', (error) => { tooOld(`; ${ownNode} cannot be started (${error.message})`) })
  child.on('exit', (code) => { process.exitCode = code ?? 1 })
} else {
  tooOld('')
}

function tooOld (more) {
  process.stderr.write(`atoll: ATOLL_NODE_TOO_OLD: this is Node ${process.versions.node}, Atoll needs ${versionMin.join('.')} or later${more}\n`)
  process.stderr.write('  in the repository, npm ci installs one that the command finds by itself\n')
  process.exitCode = 1
}
