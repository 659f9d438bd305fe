import { AtollVolumeClient } from '../../client/volume-client.ts'
import type { VolumeClient } from '../../client/types.ts'
import type { MetadataStateMachine } from '../../fsnode/metadata/state-machine.ts'
import { AtollError, codeOf } from '../../fsnode/protocol/errors.ts'
import type { Method } from '../../fsnode/protocol/methods.ts'
import type { Logger } from '../../fsnode/protocol/ports.ts'
import type { MemoryKv } from '../sim/memory-kv.ts'
import { fsck } from '../metadata/fsck.ts'
import { checkTree } from '../sim/checkers/tree.ts'
import { describe, History, type Call, type Result } from '../sim/history.ts'
import { JournalStore, SimJournal } from '../sim/journal.ts'
import { SimRandom } from '../sim/random.ts'
import { me, TestCluster } from './cluster.ts'

export interface StormOptions {
  seed: number
  /** Chances of a lost message: of a client, and between partitions. */
  losses: number
  /** Pause between two changes of a leader, ms on average; 0: there are none. */
  leaderEveryMs: number
  /** How often participants hear of a decision late, ms on average; 0: never. */
  lateEveryMs: number
}

const partitions = 3
const stepsEach = 80
const names = ['a', 'b', 'c']
const refusals = new Set(['ENOENT', 'ESTALE', 'EEXIST', 'ENOTEMPTY', 'ENOTDIR', 'EISDIR', 'EINVAL', 'EPERM', 'ELOOP'])
const lossy: Method[] = ['meta.create', 'meta.unlink', 'meta.rmdir', 'meta.rename', 'meta.link', 'meta.changes', 'meta.lease', 'meta.lookup', 'meta.readdir', 'meta.getattr']

/**
 * Clients that decide by themselves, with several threads each, change names in directories of several partitions. Gives what
 * cannot be: outcomes that no order of the operations explains, a change that was told and is lost, an unsound volume.
 */
export async function storm (options: StormOptions): Promise<string[]> {
  return new Storm(await TestCluster.open({ seed: options.seed, metadataPartitions: partitions, spreadInodesMin: options.seed % 2 === 0 ? 4 : 1_000 }), options).play()
}

class Storm {
  private readonly cluster: TestCluster
  private readonly options: StormOptions
  private readonly random: SimRandom
  private readonly history = new History()
  private readonly faults: string[] = []
  private readonly directories = [1]
  private readonly files: number[] = []
  private readonly stores = new Map<VolumeClient, JournalStore>()
  private late = false
  private over = false
  private homes = 0

  constructor (cluster: TestCluster, options: StormOptions) {
    this.cluster = cluster
    this.options = options
    this.random = new SimRandom(options.seed)
  }

  async play (): Promise<string[]> {
    const { cluster, options, random } = this
    const clients: VolumeClient[] = []
    for (const host of ['a', 'b', 'c']) clients.push(await this.client(host))
    this.disturb(options.leaderEveryMs, () => { void cluster.changeLeader(random.below(partitions)) })
    this.disturb(options.lateEveryMs, () => {
      this.late = true
      cluster.clock.setTimer(() => { this.late = false }, 500 + random.below(4_000))
    })
    cluster.onTransaction = (step) => {
      if (this.late && (step === 'commit' || step === 'outcome')) throw new AtollError('ATOLL_UNAVAILABLE', 'late')
      if (!this.over && random.chance(options.losses)) throw new AtollError('ATOLL_CONNECTION_LOST', 'lost')
    }
    cluster.onRequest = (method) => !this.over && lossy.includes(method) && random.chance(options.losses) ? random.pick(['lose-request', 'lose-answer'] as const) : undefined
    await cluster.clock.run(Promise.all(clients.flatMap((client, at) => ['1', '2'].map((thread) => this.work(client, `${'abc'[at]}.${thread}`)))), 3_000_000)
    this.over = true
    this.late = false
    await cluster.clock.advance(15_000)
    await cluster.clock.run(Promise.all(clients.map((client, at) => this.survey(client, `${'abc'[at]}.0`, 1))), 600_000)
    await cluster.clock.advance(15_000)
    const leaders = { volume: cluster.volume, leader: (index: number) => {
      const machine = cluster.leader(index).machine as MetadataStateMachine
      return { machine, kv: machine.store.kv as MemoryKv }
    } }
    this.faults.push(...checkTree(this.history).faults, ...await fsck(leaders as never))
    return this.faults
  }

  private disturb (everyMs: number, act: () => void): void {
    if (everyMs === 0) return
    this.cluster.clock.setTimer(() => {
      if (this.over) return
      act()
      this.disturb(everyMs, act)
    }, this.random.next() * 2 * everyMs)
  }

  private async client (host: string): Promise<VolumeClient> {
    const { cluster, faults } = this
    const log: Logger = {
      debug () {}, info () {}, child: () => log,
      warn: (message) => { if (message.startsWith('session expired')) faults.push(`${host}: ${message}`) },
      error: (message, fields) => { faults.push(`${host}: ${message} ${JSON.stringify(fields)}`) }
    }
    const store = new JournalStore()
    const journal = new SimJournal(store, { isAlive: () => true, place: () => 0, writesMax: 10_000 })
    const volume = new AtollVolumeClient({ network: cluster.network.host(host), clock: cluster.clock, random: cluster.random.fork(), log, journal, files: null }, {
      volume: cluster.volume, seeds: [{ host: 'n0', port: 1 }], session: `session-of-${host}`, client: host, plentyBytes: 0
    })
    this.stores.set(volume, store)
    await cluster.run(volume.start())
    volume.onInvalidate = async () => {}
    return volume
  }

  private async work (client: VolumeClient, who: string): Promise<void> {
    const { random } = this
    const homes: number[] = []
    for (let step = 0; step < stepsEach; step++) {
      // Mostly in directories of its own, which it so comes to hold, new ones of the root from time to time.
      if (homes.length < 2 || random.chance(0.04)) await this.home(client, who, homes)
      const dir = random.chance(0.85) ? random.pick(homes) : random.pick(this.directories)
      await this.act(client, who, dir, homes)
      if (random.chance(0.3)) await new Promise<void>((resolve) => { this.cluster.clock.setTimer(resolve, random.below(random.pick([5, 50, 400]))) })
    }
  }

  private async home (client: VolumeClient, who: string, homes: number[]): Promise<void> {
    const name = `home-${this.homes++}`
    const result = await this.attempt(who, { kind: 'mkdir', dir: 1, name }, async () => ({ ino: (await client.mkdir(1, name, 0o755, me)).ino }))
    if (result === null) return
    this.saw(client, result.ino!, true)
    homes.push(result.ino!)
    if (homes.length > 2) homes.shift()
  }

  private async act (client: VolumeClient, who: string, dir: number, homes: number[]): Promise<void> {
    const { random } = this
    const [name, newName] = [random.pick(names), random.pick(names)]
    const draw = random.next()
    if (draw < 0.12) await this.attempt(who, { kind: 'mkdir', dir, name }, async () => {
      const { ino } = await client.mkdir(dir, name, 0o755, me)
      if (random.chance(0.3)) this.saw(client, ino, true)
      if (random.chance(0.2)) homes.splice(0, 1, ino)
      return { ino }
    })
    else if (draw < 0.3) await this.attempt(who, { kind: 'create', dir, name, exclusive: true }, async () => {
      const { attr, file } = await client.create(dir, name, { mode: 0o644, exclusive: true }, me)
      this.saw(client, attr.ino, false)
      if (random.chance(0.5)) await file.release()
      else this.cluster.clock.setTimer(() => { void file.release() }, random.below(2_000))
      return { ino: attr.ino, created: true }
    })
    else if (draw < 0.42) await this.attempt(who, { kind: 'unlink', dir, name }, async () => { await client.unlink(dir, name, me); return {} })
    else if (draw < 0.5) await this.attempt(who, { kind: 'rmdir', dir, name }, async () => { await client.rmdir(dir, name, me); return {} })
    else if (draw < 0.72) {
      const [newDir, flags] = [random.chance(0.8) ? random.pick(homes) : random.pick(this.directories), random.pick([0, 0, 1, 2])]
      await this.attempt(who, { kind: 'rename', dir, name, newDir, newName, flags }, async () => { await client.rename(dir, name, newDir, newName, flags, me); return {} })
    } else if (draw < 0.78 && this.files.length > 0) {
      const ino = random.pick(this.files)
      await this.attempt(who, { kind: 'link', ino, dir, name }, async () => { await client.link(ino, dir, name, me); return {} })
    } else if (draw < 0.87) await this.lookup(client, who, dir, name)
    else if (draw < 0.94) await this.getattr(client, who, random.pick([...this.directories, ...this.files]))
    else await this.list(client, who, dir)
  }

  private async survey (client: VolumeClient, who: string, dir: number): Promise<void> {
    for (const { name, ino, directory } of (await this.list(client, who, dir))?.entries ?? []) {
      await this.lookup(client, who, dir, name)
      await this.getattr(client, who, ino)
      if (directory) await this.survey(client, who, ino)
    }
  }

  private lookup (client: VolumeClient, who: string, dir: number, name: string): Promise<Result | null> {
    return this.attempt(who, { kind: 'lookup', dir, name }, async () => {
      const { ino, mode, nlink } = await client.lookup(dir, name)
      return { ino, directory: (mode & 0o170000) === 0o040000, nlink }
    })
  }

  private getattr (client: VolumeClient, who: string, ino: number): Promise<Result | null> {
    return this.attempt(who, { kind: 'getattr', ino }, async () => {
      const { mode, nlink } = await client.getattr(ino)
      return { directory: (mode & 0o170000) === 0o040000, nlink }
    })
  }

  private list (client: VolumeClient, who: string, dir: number): Promise<Result | null> {
    return this.attempt(who, { kind: 'readdir', dir }, async () => {
      const { entries } = await client.readdir(dir, '', 100)
      return { entries: entries.map(({ name, ino, type }) => ({ name, ino, directory: type === 0o040000 })) }
    })
  }

  /** Others can know an inode by its name only, and so not before its partition does. */
  private saw (client: VolumeClient, ino: number, directory: boolean): void {
    this.stores.get(client)!.whenSettled(() => {
      const known = directory ? this.directories : this.files
      known.push(ino)
      if (known.length > 6) known.splice(directory ? 1 : 0, 1)
    })
  }

  private async attempt (who: string, call: Call, work: () => Promise<Result>): Promise<Result | null> {
    const operation = this.history.begin(who, call, this.cluster.clock.now())
    try {
      const result = await work()
      this.history.end(operation, 'well', result)
      return result
    } catch (error) {
      const code = codeOf(error)
      if (!refusals.has(code)) this.faults.push(`${describe(operation)}: ${code} ${error instanceof Error ? error.message : ''}`)
      this.history.end(operation, refusals.has(code) ? 'refused' : 'unknown', {}, code)
      return null
    }
  }
}
