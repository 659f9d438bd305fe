import { execFile } from 'node:child_process'
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const packages = fileURLToPath(new URL('../node_modules', import.meta.url))

/** A tar of a real tree that every installation has: the type definitions and sources of its packages. */
export async function packTree (file: string): Promise<{ files: number, bytes: number }> {
  const names = (await readdir(packages)).filter((name) => /^(@libp2p|@types|@multiformats|@noble|fast-check|mocha|chai|uint8arrays|multiformats|protons-runtime|race-|it-|msgpackr)/.test(name))
  await run('tar', ['-cf', file, '-C', packages, ...names.sort()])
  const { stdout } = await run('tar', ['-tf', file], { maxBuffer: 64 * 1024 * 1024 })
  return { files: stdout.split('\n').filter((line) => line !== '' && !line.endsWith('/')).length, bytes: (await stat(file)).size }
}

/** Files per second of unpacking it into a new directory. */
export async function unpackTree (file: string, files: number, parent: string): Promise<number> {
  const target = join(parent, `untar-${process.pid}`)
  await mkdir(target)
  const began = performance.now()
  await run('tar', ['-xf', file, '-C', target])
  const seconds = (performance.now() - began) / 1000
  await rm(target, { recursive: true })
  return files / seconds
}
