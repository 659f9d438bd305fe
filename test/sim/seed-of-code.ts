import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
/** What takes part in a simulation. */
const folders = ['partitioning', 'fsnode', 'client', 'scheduler', 'test/sim']

/**
 * Another number for any change of the code that is simulated, so that each change is tried on seeds that nobody has played; the
 * same number for the same code, so that whoever tests it sees the same.
 */
export function seedOfCode (): number {
  const hash = createHash('sha256')
  for (const folder of folders) {
    const files = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts')).sort()
    for (const file of files) hash.update(file).update(readFileSync(join(root, folder, file)))
  }
  return hash.digest().readUInt32BE() % 2 ** 31
}
