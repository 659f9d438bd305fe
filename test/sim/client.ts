import { AtollVolumeClient } from '../../client/volume-client.ts'
import { codeOf, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Logger } from '../../fsnode/protocol/ports.ts'
import { replay } from '../../fuse/mount/replay.ts'
import type { SimCluster } from './cluster.ts'
import { JournalStore, SimJournal } from './journal.ts'
import { localFiles } from './local-files.ts'
import { ProcessPorts, type Drift } from './process.ts'
import type { SimRandom } from './random.ts'

/** A client's process: one volume client, until it is closed or vanishes. */
export interface ClientProcess {
  /** Unique: 'client-1.2' is the second process of the machine. */
  readonly name: string
  readonly volume: AtollVolumeClient
  readonly ports: ProcessPorts
}

/** A machine on which one client runs at a time. */
export class SimClient {
  readonly host: string
  process: ClientProcess | null = null
  /** Sessions that ran out, of all processes. */
  sessionsLost = 0
  readonly store = new JournalStore()
  /** Place in the history. */
  private readonly place: () => number
  private readonly cluster: SimCluster
  private readonly random: SimRandom
  private readonly drift: Drift
  private readonly log: Logger
  private session: string
  private lives = 0
  private sessions = 0

  constructor (cluster: SimCluster, host: string, place: () => number) {
    this.place = place
    this.cluster = cluster
    this.host = host
    this.random = cluster.random.fork()
    this.drift = cluster.drift()
    this.log = cluster.logger(host)
    this.session = this.nextSession()
  }

  /** A process that can be used; tries until the cluster answers. Null when it was ended meanwhile. */
  async start (): Promise<ClientProcess | null> {
    const { cluster, host, random } = this
    const ports = new ProcessPorts(cluster.clock, cluster.network.host(host), this.drift)
    const life = ++this.lives
    for (;;) {
      const { clock, network } = ports
      const journal = this.journal(ports)
      const files = cluster.config.shortCircuit ? localFiles(clock, random.fork(), (host) => cluster.nodes.find((node) => node.host === host)?.disk) : null
      const volume = new AtollVolumeClient({ network, clock, random: random.fork(), log: this.log, journal, files }, {
        volume: cluster.volume!, seeds: cluster.seeds, session: this.session, client: host, cache: { inodesMax: 8 }, plentyBytes: cluster.config.plentyBytes
      })
      const process: ClientProcess = { name: `${host}.${life}`, volume, ports }
      this.process = process
      try {
        await volume.start()
        if (journal !== null) await replay(volume, journal, this.log)
        volume.onInvalidate = async () => {}
        return this.process === process ? process : null
      } catch (error) {
        this.log.warn('the client could not start', { process: process.name, code: codeOf(error), error: messageOf(error) })
        await volume.close().catch(() => {})
      }
      await new Promise<void>((resolve) => { clock.setTimer(resolve, 500) })
    }
  }

  /** The process vanishes. `takenOver`: the next one continues its session. */
  crash (takenOver: boolean): void {
    if (this.process !== null) this.process.ports.alive = false
    this.process = null
    this.cluster.network.crash(this.host)
    if (takenOver) return
    this.session = this.nextSession()
    this.store.clear()
  }

  private journal (ports: ProcessPorts): SimJournal | null {
    const { journalRecordsMax } = this.cluster.config
    return journalRecordsMax === 0 ? null : new SimJournal(this.store, { isAlive: () => ports.alive, place: this.place, writesMax: journalRecordsMax })
  }

  private nextSession (): string { return `${this.host}-${++this.sessions}` }
}
