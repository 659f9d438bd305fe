import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, createReadStream, createWriteStream, existsSync, mkdirSync, openSync, readFileSync, readSync, renameSync, statSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { basename, dirname, extname, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { createGzip } from 'node:zlib'
import { AtollError, messageOf } from '../../fsnode/protocol/errors.ts'
import { bulkProcessEnvironment, bulkProcessFlags } from '../../fsnode/protocol/engine-flags.ts'
import type { NodeCommand, NodeHealthCheck } from '../framework/index.ts'
import { fingerprintOf, nodeFiles } from './contents.ts'
import type { SourceFile } from './contents.ts'
import { tarEnd, tarHeader, tarPadding } from './tar.ts'

/** One file that agents fetch. Its URL holds its checksum: what is behind a URL never changes. */
export interface ArtifactFile { name: string, sha256: string, sizeBytes: number, path: string, executable: boolean }

/** Everything that a storage node needs on a machine with nothing but a kernel: the Node runtime with its libraries, and an archive with our code. */
export interface Artifact { files: ArtifactFile[], loader: string }

const archiveName = 'atoll.tar.gz'
const here = dirname(fileURLToPath(import.meta.url))
/** '.ts' in the repository, '.js' in the published package. */
const suffix = extname(fileURLToPath(import.meta.url))
const rootDefault = dirname(dirname(here))

const healthIntervalMs = 30_000
const healthTimeoutMs = 20_000
const healthFailuresMax = 4
/** A node that was down for long may have much to replay and to check. */
const healthGraceMs = 30 * 60_000

/** Builds the archive in `directory`, unless it is there already. Rejects with ATOLL_ARTIFACT. */
export async function buildArtifact (directory: string, root: string = rootDefault): Promise<Artifact> {
  try {
    mkdirSync(directory, { recursive: true })
    const sources = nodeFiles(root)
    const archive = join(directory, archiveName)
    const runtime = runtimeFiles(sources)
    await buildArchive(sources, archive, join(directory, 'fingerprint'))
    const files: ArtifactFile[] = []
    for (const path of [...runtime.paths, join(here, `bootstrap${suffix}`), join(here, `tar${suffix}`), join(here, `health${suffix}`), archive]) {
      files.push({ name: path === process.execPath ? 'node' : basename(path), path, sha256: await hashOf(path), sizeBytes: statSync(path).size, executable: runtime.paths.includes(path) })
    }
    return { files, loader: basename(runtime.loader) }
  } catch (error) {
    throw new AtollError('ATOLL_ARTIFACT', `the node artifact cannot be built: ${messageOf(error)}`, { hint: 'start nodes by a command that agents have: --node-command COMMAND' })
  }
}

async function buildArchive (sources: SourceFile[], archive: string, fingerprintFile: string): Promise<void> {
  const fingerprint = createHash('sha256').update(fingerprintOf(sources)).digest('hex')
  if (existsSync(archive) && existsSync(fingerprintFile) && readFileSync(fingerprintFile, 'utf8') === fingerprint) return
  const temporary = `${archive}.building`
  await pipeline(Readable.from(entriesOf(sources)), createGzip({ level: 1 }), createWriteStream(temporary))
  renameSync(temporary, archive)
  writeFileSync(fingerprintFile, fingerprint)
}

function * entriesOf (sources: SourceFile[]): Generator<Buffer> {
  for (const { name, path, executable } of sources) {
    const content = readFileSync(path)
    yield tarHeader(name, content.length, executable)
    if (content.length > 0) yield content
    yield tarPadding(content.length)
  }
  yield tarEnd()
}

async function hashOf (path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

/** This Node, the libraries that it and native packages are linked with, and what loads them. */
function runtimeFiles (sources: readonly SourceFile[]): { paths: string[], loader: string } {
  requireElf(process.execPath)
  const listed = execFileSync('ldd', [process.execPath], { encoding: 'utf8' })
  const loader = /^\s*(\/\S*ld-\S+|\/lib\S*\/ld-\S+) \(/m.exec(listed)?.[1]
  if (loader === undefined) throw new Error('the loader of this Node is not found')
  const native = sources.filter(({ path }) => path.endsWith('.node')).map(({ path }) => path)
  const libraries = new Set([listed, ...native.map(linkedWith)].flatMap((list) => [...list.matchAll(/=> (\/\S+)/g)].map(([, path]) => path!)))
  libraries.delete(loader)
  return { paths: [process.execPath, loader, ...libraries], loader }
}

/** Nothing for a module that is for other machines. */
function linkedWith (native: string): string {
  return spawnSync('ldd', [native], { encoding: 'utf8' }).stdout
}

function requireElf (path: string): void {
  const file = openSync(path, 'r')
  const magic = Buffer.alloc(4)
  readSync(file, magic)
  closeSync(file)
  if (magic.toString('latin1') !== '\x7fELF') throw new Error(`${path} is no Linux program`)
}

/** How agents start a node from what they fetch at `url`. */
export function artifactCommand ({ files, loader }: Artifact, url: string): { nodeCommand: NodeCommand, healthCheck: NodeHealthCheck } {
  const run = [`./${loader}`, '--library-path', '.', './node']
  return {
    nodeCommand: {
      arguments: [...run, ...bulkProcessFlags, `bootstrap${suffix}`],
      environment: {
        ...bulkProcessEnvironment,
        ATOLL_ARTIFACT: JSON.stringify({ archive: archiveName, main: `fsnode/server/main${suffix}`, sha256: Object.fromEntries(files.map(({ name, sha256 }) => [name, sha256])) })
      },
      uris: files.map(({ name, sha256, executable }) => ({ value: `${url}/artifact/${sha256}/${name}`, executable, extract: false, outputFile: name }))
    },
    healthCheck: {
      command: { arguments: [...run, '--disable-warning=ExperimentalWarning', `health${suffix}`] },
      intervalMs: healthIntervalMs,
      timeoutMs: healthTimeoutMs,
      failuresMax: healthFailuresMax,
      graceMs: healthGraceMs
    }
  }
}

/** Answers '<sha256>/<name>'; false: there is no such file. */
export function serveArtifact ({ files }: Artifact, name: string, response: ServerResponse): boolean {
  const file = files.find(({ sha256, name: each }) => name === `${sha256}/${each}`)
  if (file === undefined) return false
  response.writeHead(200, {
    'content-type': 'application/octet-stream',
    'content-length': file.sizeBytes,
    etag: `"${file.sha256}"`,
    'cache-control': 'public, max-age=31536000, immutable'
  })
  if (response.req.method === 'HEAD') response.end()
  else pipeline(createReadStream(file.path), response).catch(() => { response.destroy() })
  return true
}
