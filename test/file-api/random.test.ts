import { SimRandom } from '../sim/random.ts'
import { TestCluster } from '../client/cluster.ts'
import { VolumeFileSystem } from '../../client/file-api/mounted-volume.ts'
import { compare, Side, type Script } from './twin.ts'

const operationsPerRun = 400

/** The same random operations for the same seed, on few names so that they meet. */
function randomScript (seed: number, operations = operationsPerRun): Script {
  return async (side) => {
    const { fs } = side
    const random = new SimRandom(seed)
    const name = (): string => random.pick(['a', 'b', 'c', 'd', 'e'])
    // One level below the root, and never more than one level up: above the root, the two sides have different neighbours.
    const path = (up = 0.05): string => {
      const parts = Array.from({ length: 1 + random.below(3) }, () => random.chance(0.03) ? '.' : name())
      if (random.chance(up)) parts[parts.length - 1] = '..'
      return side.at(`/top/${parts.join('/')}${random.chance(0.05) ? '/' : ''}`)
    }
    const bytes = (): Buffer => Buffer.alloc(random.below(random.chance(0.1) ? 40_000 : 30), name())
    const target = (): string => random.chance(0.2) ? path(0) : random.pick([name(), `${name()}/${name()}`, `./${name()}`, '.'])
    const handles: Array<Awaited<ReturnType<typeof fs.open>>> = []
    const withHandle = async (use: (handle: typeof handles[number]) => Promise<unknown>): Promise<unknown> => handles.length === 0 ? 'no handle' : use(random.pick(handles))
    // A copy of a directory, refused, would take the target with it on one side and not on the other.
    const copyFile = async (from: string, to: string, mode: number): Promise<unknown> => (await fs.stat(from)).isDirectory() ? 'a directory' : fs.copyFile(from, to, mode)
    const actions: Array<() => Promise<unknown>> = [
      () => fs.writeFile(path(), bytes()), () => fs.writeFile(path(), bytes(), { flag: random.pick(['w', 'wx', 'r+', 'a', 'ax']) }), () => fs.appendFile(path(), bytes()), () => fs.readFile(path()),
      () => fs.mkdir(path()), () => fs.mkdir(path()), () => fs.mkdir(path(), { recursive: true }), () => fs.rmdir(path()), () => fs.unlink(path()), () => fs.rm(path(), { force: random.chance(0.5) }),
      () => fs.rename(path(), path()), () => fs.rename(path(), path()), () => fs.link(path(), path()), () => fs.symlink(target(), path()), () => fs.readlink(path()), () => fs.realpath(path()),
      () => fs.stat(path()), () => fs.lstat(path()), () => fs.readdir(path()), () => fs.readdir(path(), { withFileTypes: true }), () => fs.access(path()), () => fs.chmod(path(), 0o700 + random.below(0o100)),
      () => fs.utimes(path(), random.below(1e9), random.below(1e9)), () => fs.truncate(path(), random.below(60)), () => copyFile(path(), path(), random.below(2)),
      () => fs.open(path(), random.pick(['r', 'r+', 'w+', 'a+', 'wx+', 'w'])).then((handle) => { handles.push(handle) }),
      () => withHandle((handle) => handle.write(bytes(), 0, null, random.chance(0.5) ? null : random.below(50))), () => withHandle((handle) => handle.write(bytes())),
      () => withHandle((handle) => handle.read(Buffer.alloc(20), 0, 20, random.chance(0.5) ? null : random.below(50))), () => withHandle((handle) => handle.readFile()),
      () => withHandle((handle) => handle.truncate(random.below(50))), () => withHandle((handle) => handle.stat()), () => withHandle((handle) => handle.appendFile(bytes())),
      () => withHandle(async (handle) => { handles.splice(handles.indexOf(handle), 1); await handle.close() })
    ]
    await fs.mkdir(side.at('/top'))
    for (let index = 0; index < operations; index++) {
      const action = random.pick(actions)
      side.note(`${index}: ${String(action).replace(/\s+/g, ' ')}`)
      await side.try(action)
    }
    for (const handle of handles) await side.try(handle.close())
    await side.noteTree()
  }
}

describe('file-api: random operations end as they do in node:fs/promises', () => {
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    it(`on a plain volume in memory, seed ${seed}`, async () => { await compare(randomScript(seed)) })
  }

  for (const seed of [11, 12, 13]) {
    it(`on a volume of a cluster, with its client's caches and leases, seed ${seed}`, async () => {
      const cluster = await TestCluster.open({ seed, metadataPartitions: 3, inlineBytesMax: 1024 })
      const connected = await cluster.run(cluster.connect())
      const fs = new VolumeFileSystem({ volume: await cluster.run(connected.openVolume('v')) }, { dev: 7 })
      await compare(randomScript(seed, 250), new Side(fs), (work) => cluster.run(work, 10 ** 9))
      await cluster.run(fs.close())
    })
  }
})
