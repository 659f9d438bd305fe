import { chooseReader, diskDelayMs } from '../partitioning/tivoli.ts'
import type { DataPartition, NodeId } from '../partitioning/types.ts'
import { giveBack } from '../fsnode/protocol/buffer-pool.ts'
import { codeOf } from '../fsnode/protocol/errors.ts'
import type { Clock, Random, Timer } from '../fsnode/protocol/ports.ts'
import type { ClusterRouter } from '../fsnode/protocol/router.ts'
import { hedgeBurstMax, hedgeDelayMsMin, hedgeDelayMsUnknown, hedgeShare, triedAnywayShare } from './bounds.ts'
import { ReadDelays } from './read-delays.ts'

export interface ReplicaReadsComponents { router: Pick<ClusterRouter, 'dataPartition' | 'node' | 'toNode'>, clock: Clock, random: Random }

export interface ReplicaRead { ino: number, chunk: number, offset: number, length: number }

/** A node that answers so did not fail: it knows another map. */
const otherMapCodes = new Set(['ATOLL_STALE_EPOCH', 'ATOLL_NOT_PRIMARY'])

/**
 * Reads under Tivoli: at the quicker of two replicas, as measured here; one that takes longer than nearly all others do is asked
 * for at another replica as well, and the first answer counts. The hedges are a bounded share of the reads.
 */
export class ReplicaReads {
  private readonly components: ReplicaReadsComponents
  private readonly delays: ReadDelays
  private hedgesLeft = hedgeBurstMax

  constructor (components: ReplicaReadsComponents) {
    this.components = components
    this.delays = new ReadDelays(components.clock)
  }

  /** null: none could serve it, and the primary must be asked. */
  async read (id: string, range: ReplicaRead): Promise<Buffer[] | null> {
    const partition = this.partition(id)
    if (partition === null) return null
    const first = chooseReader(partition, (node) => this.delayOf(node, node !== partition.primary && this.triesAnyway), this.components.random)
    if (first === null) return null
    this.hedgesLeft = Math.min(hedgeBurstMax, this.hedgesLeft + hedgeShare)
    return await this.race(partition, first, range)
  }

  /** null: it is not in the map, or there is no choice. */
  private partition (id: string): DataPartition | null {
    try {
      const partition = this.components.router.dataPartition(id)
      return partition.replicas.some(({ node, state }) => state === 'serving' && node !== partition.primary) ? partition : null
    } catch {
      return null
    }
  }

  private race (partition: DataPartition, first: NodeId, range: ReplicaRead): Promise<Buffer[] | null> {
    return new Promise((resolve) => {
      let open = 1
      let isOver = false
      let hedge: Timer | null = null
      const ended = (payload: Buffer[] | null): void => {
        open--
        if (isOver) {
          if (payload !== null) giveBack(payload)
          return
        }
        // One that failed leaves the answer to the other one, or to the primary.
        if (payload === null && open > 0) return
        isOver = true
        hedge?.cancel()
        resolve(payload)
      }
      void this.attempt(partition, first, range).then(ended)
      hedge = this.components.clock.setTimer(() => {
        const other = isOver ? null : this.other(partition, first)
        if (other === null) return
        this.hedgesLeft--
        open++
        void this.attempt(partition, other, range).then(ended)
      }, Math.max(hedgeDelayMsMin, this.delays.usualMs(range.length) ?? hedgeDelayMsUnknown))
    })
  }

  private async attempt ({ id, epoch }: DataPartition, node: NodeId, range: ReplicaRead): Promise<Buffer[] | null> {
    const done = this.delays.begin(node, range.length)
    try {
      const { payload } = await this.components.router.toNode(node, 'data.read', { partition: id, epoch, ...range })
      done('answered')
      return payload
    } catch (error) {
      done(otherMapCodes.has(codeOf(error)) ? 'unmeasured' : 'failed')
      return null
    }
  }

  /** Who is asked as well: the quickest of the others, the primary among them. */
  private other ({ replicas }: DataPartition, first: NodeId): NodeId | null {
    if (this.hedgesLeft < 1) return null
    let best: NodeId | null = null
    let least = Infinity
    for (const { node, state } of replicas) {
      if (node === first || state !== 'serving') continue
      const delay = this.delayOf(node, false) ?? 0
      if (delay >= least) continue
      best = node
      least = delay
    }
    return best
  }

  private get triesAnyway (): boolean { return this.components.random.next() < triedAnywayShare }

  /** As measured here, else as the node's disk is said to be, unless it is to be tried in spite of that. */
  private delayOf (node: NodeId, isTried: boolean): number | undefined {
    const measured = this.delays.of(node)
    if (measured !== undefined) return measured
    if (isTried) return 0
    try {
      return diskDelayMs(this.components.router.node(node).disk)
    } catch {
      return undefined // not in the map
    }
  }
}
