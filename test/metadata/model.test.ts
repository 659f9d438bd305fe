import { expect } from 'chai'
import type { InodeAttr } from '../../fsnode/protocol/metadata.ts'
import { metadataIndexOf } from '../../partitioning/routing.ts'
import { SimRandom } from '../sim/random.ts'
import { fsck } from './fsck.ts'
import { Cluster, type TestClient } from './harness.ts'
import { Model, type Node } from './model.ts'

const typeBits = { file: 0o100000, directory: 0o040000, link: 0o120000 }

/** Runs the same random operations on a cluster and on the model. */
class Comparison {
  readonly cluster: Cluster
  readonly model = new Model()
  readonly random: SimRandom
  readonly clients: TestClient[]
  readonly inos = new Map<Node, number>()
  /** Directories, living and dead. */
  readonly directories: Node[]
  readonly files: Node[] = []

  constructor (cluster: Cluster, clients: TestClient[], seed: number) {
    this.cluster = cluster
    this.clients = clients
    this.random = new SimRandom(seed)
    this.inos.set(this.model.root, 1)
    this.directories = [this.model.root]
  }

  async step (): Promise<void> {
    const { random, model } = this
    const dir = this.someDirectory()
    const name = this.someName()
    const kind = random.pick(['create', 'mkdir', 'mkdir', 'symlink', 'unlink', 'rmdir', 'rename', 'rename', 'rename', 'link', 'commit', 'truncate', 'chmod', 'xattr', 'lookup'])
    switch (kind) {
      case 'create': return this.make(dir, name, 'file')
      case 'mkdir': return this.make(dir, name, 'directory')
      case 'symlink': return this.make(dir, name, 'link', 'target')
      case 'unlink': return this.compare(kind, model.unlink(dir, name), this.at(dir, 'meta.unlink', { dir: this.ino(dir), name, open: false }))
      case 'rmdir': return this.compare(kind, model.rmdir(dir, name), this.at(dir, 'meta.rmdir', { dir: this.ino(dir), name }))
      case 'rename': return this.rename(dir, name)
      case 'link': {
        const node = random.pick(this.files.concat(random.chance(0.1) ? this.directories.slice(1) : []).concat(this.files.length === 0 ? [model.root] : []))
        return this.compare(kind, model.link(node, dir, name), this.at(dir, 'meta.link', { ino: this.ino(node), dir: this.ino(dir), name }))
      }
      case 'lookup': {
        const expected = model.live(dir) ?? dir.names.get(name) ?? 'ENOENT'
        return this.compare(kind, expected, this.at(dir, 'meta.lookup', { dir: this.ino(dir), name }))
      }
      default: return this.onFile(kind)
    }
  }

  /** Everything that can be reached, as both sides see it. */
  async compareTrees (): Promise<void> {
    const seen = new Map<Node, number>()
    const visit = async (node: Node, ino: number): Promise<void> => {
      expect(this.inos.get(node)).to.equal(ino)
      const known = seen.has(node)
      seen.set(node, ino)
      const { attr, inline, symlink } = await this.at(node, 'meta.getattr', { ino }) as { attr: InodeAttr, inline?: Buffer, symlink?: string }
      expect([attr.nlink, attr.mode & 0o170000]).to.deep.equal([node.nlink, typeBits[node.type]])
      if (node.type === 'link') expect(symlink).to.equal(node.content)
      if (node.type === 'file') expect([inline!.toString(), attr.mode & 0o7777]).to.deep.equal([node.content, node.mode])
      for (const [name, value] of node.xattrs) {
        expect(String((await this.at(node, 'meta.getxattr', { ino, name }) as { value: Buffer }).value)).to.equal(value)
      }
      if (node.type !== 'directory' || known) return
      const { entries, parent } = await this.at(node, 'meta.readdir', { dir: ino, after: '', limit: 1_000 }) as { entries: Array<{ name: string, ino: number }>, parent: number }
      expect(entries.map(({ name }) => name)).to.deep.equal([...node.names.keys()].sort())
      expect(parent).to.equal(this.inos.get(node.parent!))
      for (const { name, ino } of entries) await visit(node.names.get(name)!, ino)
    }
    await visit(this.model.root, 1)
  }

  private async make (dir: Node, name: string, type: Node['type'], content = ''): Promise<void> {
    const expected = this.model.create(dir, name, type, content)
    const request = { dir: this.ino(dir), name, mode: typeBits[type] | 0o644, exclusive: true, lease: this.random.pick(['shared', 'exclusive']), caller: { uid: 1, gid: 1 }, ...type === 'link' ? { symlink: content } : {} }
    const answer = this.at(dir, 'meta.create', request)
    if (typeof expected !== 'string') {
      const { attr } = await answer as { attr: InodeAttr }
      this.inos.set(expected, attr.ino)
      if (type === 'directory') this.directories.push(expected)
      else if (type === 'file') this.files.push(expected)
    }
    await this.compare(`make ${type}`, expected, answer)
  }

  private rename (dir: Node, name: string): Promise<void> {
    const newDir = this.random.chance(0.3) ? dir : this.someDirectory()
    const newName = this.someName()
    const flags = this.random.pick([0, 0, 0, 1, 2])
    const expected = this.model.rename(dir, name, newDir, newName, flags)
    return this.compare('rename', expected, this.at(dir, 'meta.rename', { dir: this.ino(dir), name, newDir: this.ino(newDir), newName, flags, open: false }))
  }

  private async onFile (kind: string): Promise<void> {
    if (this.files.length === 0) return
    const { random } = this
    const node = random.pick(this.files)
    const ino = this.ino(node)
    const gone = this.model.live(node)
    const change = (apply: () => void): Node | string => {
      if (gone !== null) return gone
      apply()
      return node
    }
    if (kind === 'commit') {
      const content = 'x'.repeat(random.below(100))
      const expected = change(() => { node.content = content })
      return this.compare(kind, expected, this.at(node, 'meta.commit', { ino, size: content.length, mtime: 5n, inline: true }, [Buffer.from(content)]))
    }
    if (kind === 'truncate') {
      const size = random.below(100)
      const expected = change(() => { node.content = node.content.slice(0, size).padEnd(size, '\0') })
      return this.compare(kind, expected, this.at(node, 'meta.setattr', { ino, size }))
    }
    if (kind === 'chmod') {
      const mode = random.below(0o7777)
      const expected = change(() => { node.mode = mode })
      return this.compare(kind, expected, this.at(node, 'meta.setattr', { ino, mode }))
    }
    const name = random.pick(['user.a', 'user.b'])
    const value = String(random.below(10))
    const expected = change(() => { node.xattrs.set(name, value) })
    return this.compare(kind, expected, this.at(node, 'meta.setxattr', { ino, name, value: Buffer.from(value), flags: 0 }))
  }

  private async compare (what: string, expected: Node | string, answer: Promise<unknown>): Promise<void> {
    const code = await answer.then(() => null, (error: { code: string }) => error.code)
    expect(code, what).to.equal(typeof expected === 'string' ? expected : null)
  }

  private at (node: Node, method: string, request: object, payload: Buffer[] = []): Promise<unknown> {
    return this.random.pick(this.clients).call(method as never, request as never, metadataIndexOf(this.ino(node)), payload)
  }

  private ino (node: Node): number { return this.inos.get(node)! }

  private someDirectory (): Node {
    const { random, directories } = this
    const living = directories.filter(({ nlink }) => nlink > 0)
    // Below the root directories spread over the partitions.
    if (random.chance(0.25)) return directories[0]!
    return random.chance(0.03) ? random.pick(directories) : random.pick(living)
  }

  private someName (): string { return this.random.pick(['a', 'b', 'c', 'd', 'e', 'f']) }
}

describe('the metadata service and a naive tree', () => {
  for (const partitions of [1, 3]) {
    it(`agree on every outcome and in the end (${partitions} partitions)`, async () => {
      let transactions = 0
      for (let seed = 1; seed <= 8; seed++) {
        const cluster = await Cluster.open({ partitions, seed })
        const clients = [await cluster.client('a'), await cluster.client('b')]
        const comparison = new Comparison(cluster, clients, seed)
        try {
          for (let step = 0; step < 250; step++) await comparison.step()
          for (const client of clients) for (let index = 0; index < partitions; index++) await client.call('meta.renew', {}, index)
          await comparison.compareTrees()
          expect(await fsck(cluster)).to.deep.equal([])
          for (let index = 0; index < partitions; index++) transactions += cluster.leader(index).machine.store.counters.nextTransaction - 1
        } catch (error) {
          (error as Error).message += ` (seed ${seed})`
          throw error
        }
      }
      if (partitions > 1) expect(transactions).to.be.greaterThan(80)
    })
  }
})
