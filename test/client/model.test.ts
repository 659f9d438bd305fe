import { expect } from 'chai'
import type { OpenFile } from '../../client/types.ts'
import type { Method } from '../../fsnode/protocol/methods.ts'
import { SimRandom } from '../sim/random.ts'
import { me, TestCluster, type TestVolume } from './cluster.ts'
import { NaiveTree, type NaiveNode } from './naive-tree.ts'

interface Handle { client: TestVolume, file: OpenFile, node: NaiveNode }

const either = ['EINVAL', 'ENOTEMPTY']

interface Options { metadataPartitions: number, losses: number, leaderChanges: number, smallCache: boolean }

/** Two clients do random things to one volume, one at a time; each outcome is compared with the naive tree's. */
class Walk {
  readonly cluster: TestCluster
  readonly random: SimRandom
  readonly options: Options
  readonly tree = new NaiveTree()
  readonly inos = new Map<NaiveNode, number>([[this.tree.root, 1]])
  readonly handles: Handle[] = []
  readonly clients: TestVolume[]
  readonly trace: string[] = []

  constructor (cluster: TestCluster, clients: TestVolume[], random: SimRandom, options: Options) {
    this.cluster = cluster
    this.clients = clients
    this.random = random
    this.options = options
  }

  async step (): Promise<void> {
    const client = this.random.pick(this.clients)
    const dir = this.pickDirectory()
    const action = this.random.pick(actions)
    this.trace.push(`${this.clients.indexOf(client)} ${action.name}`)
    await action.call(this, client, dir)
    if (this.random.chance(this.options.leaderChanges)) await this.cluster.changeLeader(this.random.below(this.options.metadataPartitions))
    if (this.random.chance(0.05)) await this.cluster.clock.advance(this.random.below(3_000))
  }

  /** Runs both; they must agree on success, and on the code of a failure. */
  async both<T> (what: string, real: () => Promise<T>, naive: () => void): Promise<T | null> {
    this.trace.push(`  ${what}`)
    let expected = 'well'
    try {
      naive()
    } catch (error) {
      expected = (error as { code: string }).code
    }
    let result: T | null = null
    const code = await this.cluster.run(real().then((value) => {
      result = value
      return 'well'
    }, (error) => { if (typeof error.code !== 'string') throw error; return error.code as string }))
    // Of two reasons to refuse, either may be given.
    const agree = code === expected || (either.includes(code) && either.includes(expected))
    expect(agree, `${what}: ${code} instead of ${expected}\n${this.trace.slice(-25).join('\n')}`).to.equal(true)
    return result
  }

  async checkEverything (): Promise<void> {
    for (const client of this.clients) await this.check(client, this.tree.root)
  }

  async check (client: TestVolume, node: NaiveNode): Promise<void> {
    const ino = this.inos.get(node)!
    const attr = await client.run(client.volume.getattr(ino))
    const where = `inode ${ino}\n${this.trace.slice(-25).join('\n')}`
    expect([attr.nlink, attr.mode & 0o777], where).to.deep.equal([node.links, node.mode])
    if (node.kind === 'file') {
      expect(attr.size, where).to.equal(node.bytes.length)
      expect((await client.run(client.read(ino))).equals(node.bytes), where).to.equal(true)
      return
    }
    expect(await client.names(ino), where).to.deep.equal([...node.names.keys()].sort())
    for (const child of node.names.values()) await this.check(client, child)
  }

  pickDirectory (): NaiveNode {
    const directories: NaiveNode[] = []
    const collect = (node: NaiveNode): void => {
      directories.push(node)
      for (const child of node.names.values()) if (child.kind === 'dir') collect(child)
    }
    collect(this.tree.root)
    return this.random.pick(directories)
  }

  pickName (): string { return this.random.pick(['a', 'b', 'c', 'd']) }

  pickFile (): NaiveNode | null {
    const files = [...this.inos.keys()].filter((node) => node.kind === 'file' && node.links > 0)
    return files.length === 0 ? null : this.random.pick(files)
  }
}

type Action = (this: Walk, client: TestVolume, dir: NaiveNode) => Promise<void>

const create: Action = async function create (client, dir) {
  const name = this.pickName()
  const exclusive = this.random.chance(0.5)
  let node: NaiveNode | null = null
  const made = await this.both(`create ${name}`, () => client.volume.create(this.inos.get(dir)!, name, { mode: 0o644, exclusive }, me),
    () => { node = this.tree.create(dir, name, 0o644, exclusive) })
  if (made === null) return
  this.inos.set(node!, made.attr.ino)
  this.handles.push({ client, file: made.file, node: node! })
}

const mkdir: Action = async function mkdir (client, dir) {
  const name = this.pickName()
  let node: NaiveNode | null = null
  const attr = await this.both(`mkdir ${name}`, () => client.volume.mkdir(this.inos.get(dir)!, name, 0o755, me), () => { node = this.tree.mkdir(dir, name, 0o755) })
  if (attr !== null) this.inos.set(node!, attr.ino)
}

const unlink: Action = async function unlink (client, dir) {
  const name = this.pickName()
  await this.both(`unlink ${name}`, () => client.volume.unlink(this.inos.get(dir)!, name, me), () => { this.tree.unlink(dir, name) })
}

const rmdir: Action = async function rmdir (client, dir) {
  const name = this.pickName()
  await this.both(`rmdir ${name}`, () => client.volume.rmdir(this.inos.get(dir)!, name, me), () => { this.tree.rmdir(dir, name) })
}

const rename: Action = async function rename (client, dir) {
  const [name, newName, newDir] = [this.pickName(), this.pickName(), this.pickDirectory()]
  const flags = this.random.pick([0, 0, 0, 1, 2])
  await this.both(`rename ${name} ${newName} ${flags} in ${this.inos.get(dir)} to ${this.inos.get(newDir)}`,
    () => client.volume.rename(this.inos.get(dir)!, name, this.inos.get(newDir)!, newName, flags, me),
    () => { this.tree.rename(dir, name, newDir, newName, flags) })
}

const link: Action = async function link (client, dir) {
  const node = this.pickFile()
  const name = this.pickName()
  if (node !== null) await this.both(`link ${name}`, () => client.volume.link(this.inos.get(node)!, this.inos.get(dir)!, name, me), () => { this.tree.link(node, dir, name) })
}

const lookup: Action = async function lookup (client, dir) {
  const name = this.pickName()
  let node: NaiveNode | null = null
  const attr = await this.both(`lookup ${name} in ${this.inos.get(dir)}`, () => client.volume.lookup(this.inos.get(dir)!, name), () => { node = this.tree.lookup(dir, name) })
  if (attr === null) return
  const { links, mode, bytes, kind } = node! as NaiveNode
  expect([attr.ino, attr.nlink, attr.mode & 0o777], this.trace.slice(-25).join('\n')).to.deep.equal([this.inos.get(node!), links, mode])
  if (kind === 'file') expect(attr.size, this.trace.slice(-25).join('\n')).to.equal(bytes.length)
}

const list: Action = async function list (client, dir) {
  expect(await client.names(this.inos.get(dir)!), this.trace.slice(-25).join('\n')).to.deep.equal([...dir.names.keys()].sort())
}

const write: Action = async function write (client) {
  const own = this.handles.filter((handle) => handle.client === client)
  if (own.length === 0) return
  const { file, node } = this.random.pick(own)
  const offset = this.random.chance(0.5) ? node.bytes.length : this.random.below(this.random.pick([50, 300, 9_000]))
  const data = Buffer.alloc(1 + this.random.below(this.random.pick([20, 200, 5_000])), 1 + this.random.below(255))
  await this.both(`write ${file.ino} ${offset}+${data.length}`, () => file.write(offset, [data]), () => { this.tree.write(node, offset, data) })
}

const read: Action = async function read (client) {
  const own = this.handles.filter((handle) => handle.client === client)
  if (own.length === 0) return
  const { file, node } = this.random.pick(own)
  const offset = this.random.below(node.bytes.length + 10)
  const length = this.random.below(6_000)
  const bytes = await this.both(`read ${file.ino} ${offset}+${length}`, () => file.read(offset, length), () => {})
  expect(Buffer.concat(bytes!).equals(node.bytes.subarray(offset, offset + length)), this.trace.slice(-25).join('\n')).to.equal(true)
}

const resize: Action = async function resize (client) {
  const node = this.pickFile()
  const size = this.random.below(this.random.pick([10, 150, 8_000]))
  if (node !== null) await this.both(`resize ${this.inos.get(node)} ${size}`, () => client.volume.setattr(this.inos.get(node)!, { size }, me), () => { this.tree.resize(node, size) })
}

const chmod: Action = async function chmod (client) {
  const node = this.pickFile()
  const mode = this.random.pick([0o600, 0o640, 0o777])
  if (node !== null) await this.both('chmod', () => client.volume.setattr(this.inos.get(node)!, { mode }, me), () => { node.mode = mode })
}

const open: Action = async function open (client) {
  const node = this.pickFile()
  if (node === null || this.handles.length > 12) return
  const file = await this.both(`open ${this.inos.get(node)}`, () => client.volume.open(this.inos.get(node)!, { write: this.random.chance(0.5) }), () => {})
  this.handles.push({ client, file: file!, node })
}

const close: Action = async function close () {
  if (this.handles.length === 0) return
  const [{ file }] = this.handles.splice(this.random.below(this.handles.length), 1) as [Handle]
  await this.both(`close ${file.ino}`, async () => {
    if (this.random.chance(0.8)) await file.flush()
    await file.release()
  }, () => {})
}

const actions: Action[] = [create, mkdir, unlink, rmdir, rename, link, lookup, lookup, list, write, write, write, read, read, resize, chmod, open, close, close]

const lossy: Method[] = ['meta.create', 'meta.unlink', 'meta.rename', 'meta.link', 'meta.setattr', 'meta.commit', 'meta.extent', 'meta.lease', 'meta.lookup', 'meta.readdir', 'data.write']

describe('client: two clients and a naive tree agree', function () {
  this.timeout(60_000)
  const plans: Array<[string, Options, number[]]> = [
    ['one partition', { metadataPartitions: 1, losses: 0, leaderChanges: 0, smallCache: false }, [1, 2, 3]],
    ['one partition, a client with a small cache', { metadataPartitions: 1, losses: 0, leaderChanges: 0, smallCache: true }, [4, 5]],
    ['three partitions', { metadataPartitions: 3, losses: 0, leaderChanges: 0, smallCache: false }, [6, 7]],
    ['lost messages and changing leaders', { metadataPartitions: 1, losses: 0.03, leaderChanges: 0.02, smallCache: false }, [8, 9, 10]]
  ]
  for (const [name, options, seeds] of plans) {
    for (const seed of seeds) {
      it(`${name} (seed ${seed})`, async () => {
        const cluster = await TestCluster.open({ seed, metadataPartitions: options.metadataPartitions, chunkSizeBytes: 2_048, inlineBytesMax: 128 })
        const random = new SimRandom(seed)
        const clients = [await cluster.client('a'), options.smallCache ? await cluster.small(4) : await cluster.client('b')]
        const faults = random.fork()
        if (options.losses > 0) {
          cluster.onRequest = (method) => lossy.includes(method) && faults.chance(options.losses) ? faults.pick(['lose-request', 'lose-answer'] as const) : undefined
        }
        const walk = new Walk(cluster, clients, random, options)
        for (let count = 0; count < 500; count++) await walk.step()
        cluster.onRequest = () => undefined
        await walk.checkEverything()
      })
    }
  }
})
