import { createHash } from 'node:crypto'
import { createReadStream, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, normalize, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { readTar } from './tar.ts'

// The first thing that runs in a sandbox whose files were fetched from the scheduler: verifies them, unpacks, and becomes the node.

interface ArtifactVariable { archive: string, main: string, sha256: Record<string, string> }

const folder = 'atoll'

async function hashOf (path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

function unpack (archive: string): void {
  const temporary = `${folder}.unpacking`
  rmSync(temporary, { recursive: true, force: true })
  const made = new Set<string>()
  for (const { name, executable, content } of readTar(gunzipSync(readFileSync(archive)))) {
    const path = join(temporary, normalize(`/${name}`))
    const parent = dirname(path)
    if (!made.has(parent)) mkdirSync(parent, { recursive: true })
    made.add(parent)
    writeFileSync(path, content, { mode: executable ? 0o755 : 0o644 })
  }
  renameSync(temporary, folder)
}

const { archive, main, sha256 } = JSON.parse(process.env['ATOLL_ARTIFACT'] ?? '{}') as ArtifactVariable
for (const [name, expected] of Object.entries(sha256)) {
  const found = await hashOf(name)
  if (found === expected) continue
  process.stderr.write(`atoll: ATOLL_BAD_CHECKSUM: ${name} is not what the scheduler serves: SHA-256 ${found}, expected ${expected}\n`)
  process.exit(1)
}
if (!existsSync(folder)) unpack(archive)
delete process.env['ATOLL_ARTIFACT']
await import(pathToFileURL(resolve(folder, main)).href)
