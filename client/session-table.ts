import type { VolumeInfo } from '../partitioning/types.ts'
import { metadataIndexOf, metadataPartitionId, metadataPartitionsMax } from '../partitioning/routing.ts'
import { posixError } from '../fsnode/protocol/errors.ts'
import { MetadataSession, type SessionComponents } from './session.ts'

export interface SessionTableInit {
  volume: VolumeInfo
  id: string
  client: string
  resumed: boolean
  /** In which session with the partition with this index an earlier process has left changes; null: it has left none. */
  inherited: (index: number) => number | null
}

/** One session for each metadata partition of the volume, made on first use. */
export class SessionTable {
  private readonly components: SessionComponents
  private readonly init: SessionTableInit
  private readonly byIndex: Array<MetadataSession | undefined> = []

  constructor (components: SessionComponents, init: SessionTableInit) {
    this.components = components
    this.init = init
  }

  /** The session with the partition where the inode lives. */
  of (ino: number): MetadataSession {
    const index = metadataIndexOf(ino)
    return this.byIndex[index] ?? this.make(index)
  }

  find (partition: string): MetadataSession | undefined {
    return this.opened().find((session) => session.partition === partition)
  }

  opened (): MetadataSession[] { return this.byIndex.filter((session) => session !== undefined) }

  /** Those of all partitions, made where they are not. */
  all (): MetadataSession[] {
    return Array.from({ length: this.count }, (_, index) => this.byIndex[index] ?? this.make(index))
  }

  partitions (): string[] {
    return Array.from({ length: this.count }, (_, index) => metadataPartitionId(this.init.volume.id, index))
  }

  /** Of the volume now: it may get more. An earlier process of this one may have known of more than this one yet. */
  private get count (): number {
    const { volume } = this.init
    const { router } = this.components
    const known = router.mapVersion === 0 ? volume : router.map.volumes.find(({ id }) => id === volume.id) ?? volume
    const used = this.components.journal?.recoverChanges().map(({ partition }) => partition + 1) ?? []
    return Math.max(volume.metadataPartitions, known.metadataPartitions, ...used)
  }

  async close (): Promise<void> {
    await Promise.all(this.opened().map((session) => session.close()))
  }

  private make (index: number): MetadataSession {
    const { volume, id, client, resumed } = this.init
    if (!(index >= 0 && index < metadataPartitionsMax)) throw posixError('ENOENT', 'no such inode')
    const recovered = this.components.journal?.recoverChanges().filter((change) => change.partition === index) ?? []
    const inherited = this.init.inherited(index)
    const lost = this.components.lost?.of(index) ?? 0
    const session = new MetadataSession(this.components, {
      partition: metadataPartitionId(volume.id, index), index, id, client, resumed, inherits: inherited !== null && inherited >= lost, generation: Math.max(inherited ?? 0, lost)
    })
    this.byIndex[index] = session
    if (recovered.length > 0) session.changes!.resume(recovered)
    return session
  }
}
