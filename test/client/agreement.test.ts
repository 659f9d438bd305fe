import { expect } from 'chai'
import type { OpenFile } from '../../client/types.ts'
import type { Method } from '../../fsnode/protocol/methods.ts'
import { SimRandom } from '../sim/random.ts'
import { me, TestCluster, type TestVolume } from './cluster.ts'

/** Everything that can be seen of the volume, as text. */
async function view (client: TestVolume, dir = 1, path = ''): Promise<string[]> {
  const lines: string[] = []
  for (const name of await client.list(dir)) {
    const attr = await client.volume.lookup(dir, name)
    const shown = `${path}/${name} ${attr.ino} ${attr.mode.toString(8)} ${attr.nlink} ${attr.size} ${attr.mtime}`
    if ((attr.mode & 0o170000) === 0o040000) lines.push(shown, ...await view(client, attr.ino, `${path}/${name}`))
    else lines.push(`${shown} ${(await client.read(attr.ino)).toString('base64')}`)
  }
  return lines
}

class Storm {
  readonly random: SimRandom
  readonly dirs = [1]
  readonly files: number[] = []
  readonly handles = new Map<TestVolume, OpenFile[]>()

  constructor (random: SimRandom) {
    this.random = random
  }

  /** One random operation; failures that others cause are part of the game, anything else is not. */
  async act (client: TestVolume): Promise<void> {
    const { random } = this
    const { volume } = client
    const [dir, other] = [random.pick(this.dirs), random.pick(this.dirs)]
    const [name, newName] = [random.pick(['a', 'b', 'c']), random.pick(['a', 'b', 'c'])]
    const handles = this.handles.get(client) ?? []
    this.handles.set(client, handles)
    const acts: Array<() => Promise<unknown>> = [
      async () => {
        const { file } = await volume.create(dir, name, { mode: 0o644, exclusive: random.chance(0.3) }, me)
        this.files.push(file.ino)
        handles.push(file)
      },
      async () => { if (this.dirs.length < 4) this.dirs.push((await volume.mkdir(dir, name, 0o755, me)).ino) },
      () => volume.unlink(dir, name, me),
      () => volume.rename(dir, name, other, newName, random.pick([0, 0, 1, 2]), me),
      () => volume.lookup(dir, name),
      () => client.list(dir),
      async () => { if (this.files.length > 0) await volume.link(random.pick(this.files), dir, name, me) },
      async () => { if (this.files.length > 0) await volume.setattr(random.pick(this.files), random.chance(0.5) ? { size: random.below(500) } : { mode: random.pick([0o600, 0o644]) }, me) },
      async () => { if (this.files.length > 0) await client.read(random.pick(this.files)) },
      async () => { await handles.pop()?.release() },
      async () => { if (handles.length > 0) await random.pick(handles).flush() }
    ]
    const write = async (): Promise<void> => {
      if (handles.length > 0) await random.pick(handles).write(random.below(400), [Buffer.alloc(1 + random.below(300), 1 + random.below(255))])
    }
    try {
      await random.pick([...acts, write, write, write])()
    } catch (error) {
      const { code } = error as { code?: string }
      if (!['ENOENT', 'EEXIST', 'ENOTDIR', 'EISDIR', 'ENOTEMPTY', 'EINVAL', 'ESTALE', 'EBADF'].includes(code ?? '')) throw error
    }
  }
}

const lossy: Method[] = ['meta.create', 'meta.unlink', 'meta.rename', 'meta.setattr', 'meta.commit', 'meta.extent', 'meta.lease', 'meta.getattr', 'meta.readdir', 'data.write']

describe('client: after any storm of concurrent operations all clients see the same', function () {
  this.timeout(60_000)
  for (const [name, metadataPartitions, losses, inodesMax, seeds] of [
    ['one partition', 1, 0, 1_000, [1, 2]],
    ['small caches', 1, 0, 3, [3]],
    ['two partitions', 2, 0, 1_000, [4]],
    ['lost messages, changing leaders', 1, 0.02, 1_000, [5, 6]]
  ] as Array<[string, number, number, number, number[]]>) {
    for (const seed of seeds) {
      it(`${name} (seed ${seed})`, async () => {
        const cluster = await TestCluster.open({ seed, metadataPartitions, chunkSizeBytes: 256, inlineBytesMax: 64 })
        const clients = [await cluster.small(inodesMax), await cluster.client(), await cluster.client()]
        const random = new SimRandom(seed)
        const storm = new Storm(random)
        const faults = random.fork()
        for (let round = 0; round < 25; round++) {
          if (losses > 0) cluster.onRequest = (method) => lossy.includes(method) && faults.chance(losses) ? faults.pick(['lose-request', 'lose-answer'] as const) : undefined
          const work = Promise.all(clients.flatMap((client) => Array.from({ length: 4 }, async () => {
            for (let count = 0; count < 3; count++) await storm.act(client)
          })))
          if (losses > 0 && random.chance(0.3)) await cluster.changeLeader()
          await cluster.run(work)
          cluster.onRequest = () => undefined
          const views = []
          for (const client of clients) views.push(await cluster.run(view(client)))
          const fresh = await cluster.client()
          const truth = await cluster.run(view(fresh))
          await cluster.run(fresh.volume.close())
          for (const [index, seen] of views.entries()) expect(seen, `client ${index} in round ${round}`).to.deep.equal(truth)
        }
      })
    }
  }
})
