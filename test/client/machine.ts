import { AtollVolumeClient } from '../../client/volume-client.ts'
import { silent } from '../metadata/harness.ts'
import { JournalStore, SimJournal } from '../sim/journal.ts'
import { ProcessPorts } from '../sim/process.ts'
import { TestVolume, type TestCluster } from './cluster.ts'

const plentyBytes = 0

/** A machine whose mount has a journal: its processes continue each other. */
export class Machine {
  readonly cluster: TestCluster
  readonly host: string
  readonly store = new JournalStore()
  private readonly lost = new Map<number, number>()
  private ports: ProcessPorts | null = null

  constructor (cluster: TestCluster, host: string) {
    this.cluster = cluster
    this.host = host
  }

  journal: SimJournal | null = null

  async start (): Promise<TestVolume> {
    const { cluster, host, store } = this
    const ports = this.ports = new ProcessPorts(cluster.clock, cluster.network.host(host))
    const journal = this.journal = new SimJournal(store, { isAlive: () => ports.alive, place: () => 0, writesMax: 10_000 })
    const volume = new AtollVolumeClient({ network: ports.network, clock: ports.clock, random: cluster.random.fork(), log: silent, journal, files: null }, {
      volume: cluster.volume, seeds: [{ host: 'n0', port: 1 }], session: `session-of-${host}`, lost: { of: (index) => this.lost.get(index) ?? 0, note: (index, lost) => { this.lost.set(index, lost) } }, client: host, plentyBytes
    })
    await cluster.run(volume.start())
    return new TestVolume(cluster, volume)
  }

  crash (): void {
    this.ports!.alive = false
    this.cluster.network.crash(this.host)
  }
}
