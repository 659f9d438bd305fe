import { execFile } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { chmod, copyFile } from 'node:fs/promises'
import { basename, isAbsolute, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { messageOf } from '../../../fsnode/protocol/errors.ts'
import type { CommandUri } from '../../mesos/types.ts'
import { containerPathProblem } from '../core/volumes.ts'

const run = promisify(execFile)
const archive = /\.(tar|tar\.gz|tgz|tar\.bz2|tbz2|tar\.xz|txz)$/
const zip = /\.zip$/
const fetchTimeoutMs = 10 * 60_000

/** Puts what a command wants to find there into its sandbox: http, https and local files; archives are unpacked. */
export async function fetchUris (uris: readonly CommandUri[], sandbox: string, signal: AbortSignal): Promise<void> {
  for (const uri of uris) await fetchUri(uri, sandbox, signal)
}

async function fetchUri ({ value, executable = false, extract = true, output_file: outputFile }: CommandUri, sandbox: string, signal: AbortSignal): Promise<void> {
  const remote = /^https?:\/\//.test(value)
  const name = outputFile ?? basename(remote ? new URL(value).pathname : value)
  if (name === '' || containerPathProblem(name) !== undefined) throw new Error(`no file name for '${value}'`)
  const target = join(sandbox, name)
  if (remote) await download(value, target, signal)
  else await copyFile(localPath(value), target)
  if (executable) {
    await chmod(target, 0o755)
    return
  }
  if (!extract) return
  if (archive.test(name)) await run('tar', ['-xf', target, '-C', sandbox], { signal })
  else if (zip.test(name)) await run('unzip', ['-o', '-q', '-d', sandbox, target], { signal })
}

function localPath (value: string): string {
  if (value.startsWith('file://')) return fileURLToPath(value)
  if (isAbsolute(value)) return value
  throw new Error(`'${value}' is neither http, https, file:// nor an absolute path`)
}

async function download (url: string, target: string, signal: AbortSignal): Promise<void> {
  // What went wrong (a certificate, a refused connection) is in the cause: 'fetch failed' alone helps nobody.
  const response = await fetch(url, { signal: AbortSignal.any([signal, AbortSignal.timeout(fetchTimeoutMs)]) })
    .catch((error: Error) => { throw new Error(`${url}: ${messageOf(error.cause ?? error)}`) })
  if (!response.ok || response.body === null) throw new Error(`${url} answers ${response.status}`)
  await pipeline(Readable.fromWeb(response.body as any), createWriteStream(target), { signal })
}
