import type { DataPartition, NodeId } from '../../partitioning/types.ts'
import type { ChunkDigest } from '../protocol/data.ts'
import { AtollError, codeOf, messageOf } from '../protocol/errors.ts'
import type { Clock, Logger } from '../protocol/ports.ts'
import type { ClusterRouter } from '../protocol/router.ts'
import { byName, inParallel, type ChunkName, type ChunkStore } from './chunk-store.ts'
import { digestPageMax, digestParallel, managerPatienceMs, pullParallel, recoveryRetryMsMax, recoveryRetryMsMin, verifyAttemptsMax } from './constants.ts'
import { firstAfter } from './digests.ts'
import { chunkOf, type Unsettled } from './unsettled.ts'

type Chunk = [ino: number, chunk: number]

export interface RecoveryComponents { clock: Clock, log: Logger, router: ClusterRouter, store: ChunkStore }

export interface RecoveryInit {
  nodeId: NodeId
  partition: DataPartition
  /** 'all': compare every chunk. 'open': those that earlier primaries left open. */
  scope: 'all' | 'open'
  unsettled: Unsettled
  pull: (chunks: Chunk[]) => Promise<void>
  /** Resolves when so much may be read back. */
  pace: (name: ChunkName) => Promise<void>
  /** Everything is as at the primary. */
  done: () => Promise<void> | void
}

/**
 * Brings a replica to the primary's contents: compares digests, and has the primary send what differs, in
 * the order of its writes. Chunks that are found equal stay equal, since every write since the epoch
 * began reaches this replica too; so it may begin again at any time. Runs until done or stopped.
 */
export class Recovery {
  /** Chunks copied so far. */
  copied = 0
  private readonly components: RecoveryComponents
  private readonly init: RecoveryInit
  /** Copied and not yet read back. */
  private unverified: Chunk[] = []
  private stopped = false

  constructor (components: RecoveryComponents, init: RecoveryInit) {
    this.components = components
    this.init = init
  }

  stop (): void { this.stopped = true }

  async run (): Promise<void> {
    const { clock, log } = this.components
    for (let delayMs = recoveryRetryMsMin; !this.stopped; delayMs = Math.min(recoveryRetryMsMax, delayMs * 2)) {
      try {
        await (this.init.scope === 'all' ? this.compareAll() : this.compareOpen())
        await this.verifyCopied()
        if (!this.stopped) await this.init.done()
        return
      } catch (error) {
        if (this.stopped) return
        log.info('recovery will go on', { partition: this.init.partition.id, code: codeOf(error), cause: messageOf(error), copied: this.copied })
        if (codeOf(error) === 'ATOLL_STALE_EPOCH') this.components.router.refresh(undefined, 0).catch(() => {})
      }
      await new Promise<void>((resolve) => { clock.setTimer(resolve, delayMs) })
    }
  }

  private async compareAll (): Promise<void> {
    const own = await this.components.store.list(this.init.partition.id)
    let position = 0
    for (let after: Chunk | null = null, done = false; !done && !this.stopped;) {
      const page = await this.ask(after, false)
      const last = page.digests.at(-1)
      const end = page.done || last === undefined ? own.length : firstAfter(own, [last.ino, last.chunk])
      await this.equalise(page.digests, own.slice(position, end))
      position = end
      done = page.done
      if (last !== undefined) after = [last.ino, last.chunk]
      else if (!done) throw new Error('a page without digests')
    }
  }

  private async compareOpen (): Promise<void> {
    const { inherited } = this.init.unsettled
    const recent = await this.ask(null, true)
    if (recent.complete) {
      await this.compareAll()
      return
    }
    // What the primary has found open is open here too, until all have compared it.
    for (const { ino, chunk } of recent.digests) inherited.add(`${ino}.${chunk}`)
    const chunks = [...inherited].map(chunkOf).sort(byName)
    for (let start = 0; start < chunks.length && !this.stopped; start += digestPageMax) {
      const some = chunks.slice(start, start + digestPageMax)
      const { digests } = await this.ask(null, false, some)
      await this.equalise(digests, some)
    }
  }

  private async ask (after: Chunk | null, recent: boolean, chunks?: Chunk[]): Promise<{ digests: ChunkDigest[], done: boolean, complete: boolean }> {
    const { partition } = this.init
    const request = { partition: partition.id, epoch: partition.epoch, after, limit: digestPageMax, recent, ...(chunks === undefined ? {} : { chunks }) }
    return (await this.components.router.toNode(partition.primary!, 'replica.digests', request)).body
  }

  /** Pulls what differs, what is missing here, and (to learn that it is gone) what is missing there. */
  private async equalise (theirs: ChunkDigest[], own: Chunk[]): Promise<void> {
    const differing: Chunk[] = []
    await inParallel(digestParallel, theirs, async ({ ino, chunk, length, digest }) => {
      const mine = await this.digest({ partition: this.init.partition.id, ino, chunk })
      if (mine === null || mine.length !== length || mine.digest !== digest) differing.push([ino, chunk])
    })
    const known = new Set(theirs.map(({ ino, chunk }) => `${ino}.${chunk}`))
    for (const [ino, chunk] of own) if (!known.has(`${ino}.${chunk}`)) differing.push([ino, chunk])
    await inParallel(pullParallel, differing.sort(byName), async (chunk) => {
      if (this.stopped) return
      await this.copy(chunk)
    })
  }

  private async copy (chunk: Chunk): Promise<void> {
    this.unverified.push(chunk)
    await this.init.pull([chunk])
    this.copied++
  }

  /** Reads what was copied from the disk: each block must match the checksum that came with it. What does not is copied again. */
  private async verifyCopied (): Promise<void> {
    for (let attempt = 0; this.unverified.length > 0 && !this.stopped; attempt++) {
      if (attempt > verifyAttemptsMax) throw new AtollError('ATOLL_BAD_CHECKSUM', `copies of ${this.unverified.length} chunks do not stay whole on the disk`)
      const copies = this.unverified.sort(byName)
      const damaged: Chunk[] = []
      await inParallel(pullParallel, copies, async ([ino, chunk]) => {
        if (!this.stopped && !await this.isWhole({ partition: this.init.partition.id, ino, chunk })) damaged.push([ino, chunk])
      })
      if (this.stopped) return
      this.unverified = []
      for (const chunk of damaged) await this.copy(chunk)
    }
  }

  private async isWhole (name: ChunkName): Promise<boolean> {
    await this.init.pace(name)
    return this.components.store.verify(name).then(({ bad }) => bad.length === 0, (error) => {
      if (codeOf(error) === 'ATOLL_BAD_CHECKSUM') return false
      throw error
    })
  }

  private digest (name: ChunkName): Promise<{ length: number, digest: number } | null> {
    return this.components.store.digest(name).catch((error) => {
      if (codeOf(error) === 'ATOLL_BAD_CHECKSUM') return null
      throw error
    })
  }
}

/**
 * Tells the primary and then the manager that the replica has caught up. The primary may learn last that the replica
 * serves: what it acknowledges until then must be here, too. What was synced before is on stable storage here, before it counts.
 */
export async function reportSynced ({ router, store }: RecoveryComponents, nodeId: NodeId, { id, epoch, primary }: DataPartition): Promise<void> {
  await router.toNode(primary!, 'replica.joined', { partition: id, epoch, node: nodeId })
  await store.syncPartition(id)
  const { body } = await router.toManager('manager.replica-synced', { partition: id, epoch, node: nodeId }, { patienceMs: managerPatienceMs })
  if (body.map !== undefined) router.adopt(body.map)
}
