import { dirname, join } from 'node:path'
import type { PartitionId } from '../../partitioning/types.ts'
import { codeOf } from '../protocol/errors.ts'
import { backgroundParallel, chunkOfFile, inParallel, type ChunkName } from './chunk-store.ts'
import type { Division } from './divisions.ts'
import type { ChunkFiles } from './files.ts'

/** Of a chunk in use: where its file is, and whether it is open. */
interface Place { readonly name: ChunkName, path: string, readonly chunk: object | null }

export interface SweepComponents {
  files: ChunkFiles
  /** Of the store. */
  directory: string
  /** Where the chunk's file belongs. */
  homeOf: (name: ChunkName) => string
  /** Runs while nothing else is done with the chunk, and after what was begun before. */
  alone: (name: ChunkName, task: (place: Place) => Promise<void>) => Promise<void>
  /** Chunks in use whose files are, or are being made, in another partition's directory. */
  strays: (partition: PartitionId) => ChunkName[]
  entriesChanged: (directory: string) => void
  syncDirectory: (directory: string) => Promise<void>
}

/** Moves files of other partitions out of a partition's directory, for ever. Clients are served meanwhile. */
export async function sweep (components: SweepComponents, { partition, ownerOf }: Division): Promise<void> {
  const { files, directory, alone, strays, syncDirectory } = components
  // What began by the old name may be making a file there: that ends first.
  await inParallel(backgroundParallel, strays(partition), (name) => alone(name, async () => {}))
  for (const shelf of await files.list(join(directory, partition))) {
    const from = join(directory, partition, shelf)
    const targets = new Set<string>()
    const names = (await files.list(from)).map(chunkOfFile).filter((found) => found !== null)
    await inParallel(backgroundParallel, names, async ([ino, chunk]) => {
      const owner = ownerOf(ino, chunk)
      if (owner !== partition) await alone({ partition: owner, ino, chunk }, (place) => bringHome(components, place, join(from, `${ino}.${chunk}`), targets))
    })
    for (const target of targets) await syncDirectory(target)
    await syncDirectory(from)
  }
}

async function bringHome ({ files, homeOf, entriesChanged }: SweepComponents, place: Place, from: string, targets: Set<string>): Promise<void> {
  const home = homeOf(place.name)
  const target = dirname(home)
  if (!targets.has(target)) await files.makeDirectory(target)
  targets.add(target)
  try {
    // One that is in its place already, or in use elsewhere, is the newer one.
    const isOlder = place.chunk === null ? await exists(files, home) : place.path !== from
    if (isOlder) await files.unlink(from)
    else await files.rename(from, home)
    if (!isOlder || place.chunk === null) place.path = home
    entriesChanged(target)
    entriesChanged(dirname(from))
  } catch (error) {
    // Removed meanwhile.
    if (codeOf(error) !== 'ENOENT') throw error
  }
}

async function exists (files: ChunkFiles, path: string): Promise<boolean> {
  const file = await files.open(path, false).catch((error) => {
    if (codeOf(error) === 'ENOENT') return null
    throw error
  })
  await file?.close()
  return file !== null
}
