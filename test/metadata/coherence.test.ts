import { expect } from 'chai'
import type { InodeAttr, RecallRequest } from '../../fsnode/protocol/metadata.ts'
import { metadataIndexOf } from '../../partitioning/routing.ts'
import { SimRandom } from '../sim/random.ts'
import { fsck } from './fsck.ts'
import { Cluster, type TestClient } from './harness.ts'

/** Caches whatever a lease lets it cache, and forgets what is recalled: nothing more. */
class CachingClient {
  readonly client: TestClient
  readonly versions = new Map<number, number>()
  /** 0: known to be absent. */
  readonly names = new Map<string, number>()
  hits = 0
  /** Without a lease on its directory a name may not be cached, not even after an own change. */
  private readonly leased = new Set<number>()
  private readonly random: SimRandom
  private recalls: Array<{ ino: number, names?: string[] }> = []

  constructor (client: TestClient, random: SimRandom) {
    this.client = client
    this.random = random
    client.onRecall = async (recall) => {
      if (random.chance(0.3)) await new Promise<void>((resolve) => { client.cluster.clock.setTimer(resolve, random.below(20)) })
      this.forget(recall)
    }
  }

  async step (dirs: number[], files: number[]): Promise<void> {
    const { random } = this
    const dir = random.pick(dirs)
    const name = random.pick(['a', 'b', 'c'])
    const index = metadataIndexOf(dir)
    const file = random.pick(files)
    const other = random.pick(dirs)
    await random.pick([
      () => this.lookup(dir, name, index),
      () => this.lookup(dir, name, index),
      () => this.send('meta.getattr', { ino: random.chance(0.5) ? dir : file }, index, {}),
      () => this.list(dir, index),
      () => this.create(dir, name, index, files),
      () => this.send('meta.unlink', { dir, name, open: false }, index, { dirs: [dir], names: [[dir, name, 0]] }),
      () => this.rename(dir, name, other, random.pick(['a', 'b', 'c']), index),
      () => this.send('meta.link', { ino: file, dir, name }, index, { dirs: [dir], names: [[dir, name, file]], inodes: [file] }),
      () => this.send('meta.setattr', { ino: file, mode: random.below(0o777) }, metadataIndexOf(file), {}),
      () => this.send('meta.lease', { ino: file, mode: random.pick(['shared', 'exclusive']) }, metadataIndexOf(file), {})
    ])()
  }

  private async lookup (dir: number, name: string, index: number): Promise<void> {
    if (this.names.has(`${dir}/${name}`)) this.hits++
    const since = this.begin()
    try {
      const { ino, attr } = await this.client.start('meta.lookup', { dir, name }, index)
      this.keepName(since, dir, name, ino)
      if (attr !== undefined) this.keep(since, attr, index)
    } catch (error) {
      const { code } = error as { code: string }
      expect(code).to.equal('ENOENT')
      this.keepName(since, dir, name, 0)
    }
  }

  private async list (dir: number, index: number): Promise<void> {
    const since = this.begin()
    const { entries } = await this.client.start('meta.readdir', { dir, after: '', limit: 100 }, index)
    for (const { name, ino, attr } of entries) {
      this.keepName(since, dir, name, ino)
      if (attr !== undefined) this.keep(since, attr, index)
    }
    for (const name of ['a', 'b', 'c']) if (!entries.some((entry) => entry.name === name)) this.keepName(since, dir, name, 0)
  }

  private async create (dir: number, name: string, index: number, files: number[]): Promise<void> {
    const lease = this.random.pick(['shared', 'exclusive'])
    const answer = await this.send('meta.create', { dir, name, mode: 0o100644, exclusive: true, lease, caller: { uid: 1, gid: 1 } }, index, { dirs: [dir] })
    const attr = (answer as { attr?: InodeAttr } | null)?.attr
    if (attr === undefined) return
    files.push(attr.ino)
    this.changeName(dir, name, attr.ino)
  }

  private async rename (dir: number, name: string, newDir: number, newName: string, index: number): Promise<void> {
    const answer = await this.send('meta.rename', { dir, name, newDir, newName, flags: 0, open: false }, index, { dirs: [dir, newDir] }) as { ino: number, replaced?: { ino: number } } | null
    if (answer === null || answer.replaced?.ino === answer.ino) return
    this.changeName(dir, name, 0)
    this.changeName(newDir, newName, answer.ino)
  }

  /** `changes`: what a mutation makes of the own caches, unless the answer says more. */
  private async send (method: string, request: object, index: number, changes: { dirs?: number[], inodes?: number[], names?: Array<[dir: number, name: string, ino: number]> }): Promise<unknown> {
    const since = this.begin()
    const { ino } = request as { ino?: number }
    const at = method === 'meta.getattr' ? metadataIndexOf(ino!) : index
    try {
      const answer = await this.client.start(method as never, request as never, at) as Record<string, unknown>
      for (const dir of [...changes.dirs ?? [], ...changes.inodes ?? []]) this.versions.delete(dir)
      if (typeof answer.ino === 'number') this.versions.delete(answer.ino)
      const replaced = answer.replaced as { ino: number, attr?: InodeAttr } | undefined
      if (replaced !== undefined) this.versions.delete(replaced.ino)
      for (const attr of [answer.attr, answer.dirAttr, answer.newDirAttr, replaced?.attr]) if (attr !== undefined) this.keep(since, attr as InodeAttr, at)
      for (const [dir, name, ino] of changes.names ?? []) this.changeName(dir, name, ino)
      return answer
    } catch (error) {
      expect((error as { code: string }).code).to.match(/^E/)
      return null
    }
  }

  private begin (): number { return this.recalls.length }

  private keep (since: number, attr: InodeAttr, index: number): void {
    if (metadataIndexOf(attr.ino) !== index || !this.mayKeep(since, attr.ino)) return
    this.leased.add(attr.ino)
    this.versions.set(attr.ino, attr.version)
  }

  private keepName (since: number, dir: number, name: string, ino: number): void {
    if (!this.mayKeep(since, dir, name)) return
    this.leased.add(dir)
    this.names.set(`${dir}/${name}`, ino)
  }

  private changeName (dir: number, name: string, ino: number): void {
    if (this.leased.has(dir)) this.names.set(`${dir}/${name}`, ino)
    else this.names.delete(`${dir}/${name}`)
  }

  private mayKeep (since: number, ino: number, name?: string): boolean {
    return !this.recalls.slice(since).some((recall) => recall.ino === ino && (name === undefined || recall.names === undefined || recall.names.includes(name)))
  }

  private forget ({ ino, to, names }: RecallRequest): void {
    this.recalls.push(names === undefined ? { ino } : { ino, names })
    if (to === 'shared' && names === undefined) return
    this.versions.delete(ino)
    if (names === undefined) this.leased.delete(ino)
    for (const key of [...this.names.keys()]) {
      if (names === undefined ? key.startsWith(`${ino}/`) : names.some((name) => key === `${ino}/${name}`)) this.names.delete(key)
    }
  }
}

describe('what clients cache under leases', () => {
  for (const partitions of [1, 3]) {
    it(`is the truth whenever nothing is under way (${partitions} partitions)`, async () => {
      let [hits, checked] = [0, 0]
      for (let seed = 1; seed <= 5; seed++) {
        const cluster = await Cluster.open({ partitions, seed })
        const random = new SimRandom(seed)
        const made = [await cluster.client('a'), await cluster.client('b'), await cluster.client('c')]
        const clients = made.map((client) => new CachingClient(client, random.fork()))
        const dirs = [1]
        for (const name of ['x', 'y', 'z']) dirs.push((await made[0]!.create(1, name, { mode: 0o040755 })).attr.ino)
        const files = [(await made[0]!.create(1, 'file')).attr.ino]
        for (let round = 0; round < 40; round++) {
          await cluster.clock.run(Promise.all(clients.map(async (client) => { for (let step = 0; step < 4; step++) await client.step(dirs, files) })))
          for (const { client, versions, names } of clients) {
            for (const [ino, version] of versions) {
              const inode = cluster.leader(metadataIndexOf(ino)).machine.store.inodes.get(ino)
              expect(version, `seed ${seed}, round ${round}: ${client.name} knows inode ${ino}`).to.equal(inode?.version)
            }
            for (const [key, ino] of names) {
              const entry = cluster.leader(metadataIndexOf(Number(key.split('/')[0]))).machine.store.entries.get(key)
              expect(ino, `seed ${seed}, round ${round}: ${client.name} knows name ${key}`).to.equal(entry?.ino ?? 0)
            }
            checked += versions.size + names.size
          }
        }
        hits += clients.reduce((total, client) => total + client.hits, 0)
        expect(await fsck(cluster)).to.deep.equal([])
        for (let index = 0; index < partitions; index++) expect((await cluster.leader(index).partition.opened()).intents.size).to.equal(0)
      }
      expect(hits).to.be.greaterThan(100)
      expect(checked).to.be.greaterThan(1_000)
    })
  }
})
