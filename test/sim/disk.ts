import type { RegisterRequest } from '../../fsnode/protocol/manager.ts'
import type { Clock } from '../../fsnode/protocol/ports.ts'
import type { NodeStores } from '../../fsnode/server/assembly.ts'
import type { NodeAddress } from '../../fsnode/protocol/node-spec.ts'
import type { ManagerAddresses } from '../../fsnode/server/manager-addresses.ts'
import { MemoryFiles } from './memory-files.ts'
import { MemoryKv } from './memory-kv.ts'
import type { SimRandom } from './random.ts'

/** `kill`: the process ends, what it wrote is there. `power`: what was not synced may be gone. */
export type Ending = 'kill' | 'power'

const fastMs = { writeDelayMs: 0.02, syncDelayMsMin: 0.2, syncDelayMsMax: 2, delayMsMax: 0.3 }
const slowMs = { writeDelayMs: 5, syncDelayMsMin: 20, syncDelayMsMax: 400, delayMsMax: 60 }

/** A machine's disk: the stores and files of its node, which outlive the processes. */
export class SimDisk {
  files: MemoryFiles
  /** Written with a sync. */
  readonly addresses: ManagerAddresses
  private readonly clock: Clock
  private readonly random: SimRandom
  private readonly kvs = new Map<string, MemoryKv>()
  /** Shared by everything on the disk, so that a change of speed is felt at once. */
  private readonly times = { ...fastMs }
  /** Bytes that chunk files may take; undefined: a disk without end. */
  private readonly room: { capacityBytes: number, delayMsMax: number, host: string }
  /** Changes when the machine starts. */
  private boot = 1
  private record: { incarnation: string, boot: number } | null = null

  constructor (clock: Clock, random: SimRandom, capacityBytes: number, host: string) {
    this.clock = clock
    this.random = random
    let managers: NodeAddress[] = []
    this.addresses = { load: () => managers, save: (known) => { managers = known } }
    this.room = { capacityBytes, delayMsMax: fastMs.delayMsMax, host }
    this.files = new MemoryFiles({ clock, random: random.fork() }, this.room)
  }

  setSlow (slow: boolean): void {
    Object.assign(this.times, slow ? slowMs : fastMs)
    this.room.delayMsMax = this.times.delayMsMax
  }

  setCapacity (bytes: number): void {
    this.room.capacityBytes = bytes
    this.files.capacityBytes = bytes
  }

  get usedBytes (): number { return this.files.paths.reduce((sum, path) => sum + this.files.sizeOf(path), 0) }

  get capacityBytes (): number { return this.room.capacityBytes }

  stores (): NodeStores {
    return {
      raft: this.open('raft'),
      openManager: async () => this.open('manager'),
      openMetadata: async (partition) => this.open(`metadata/${partition}`),
      removeMetadata: async (partition) => { this.kvs.delete(`metadata/${partition}`) }
    }
  }

  /** A store by its name: 'raft', 'manager' or 'metadata/<partition>'. */
  store (name: string): MemoryKv | undefined { return this.kvs.get(name) }

  /** The record of fsnode/server/process-record.ts. */
  succeed (incarnation: string): RegisterRequest['previous'] {
    const { record, boot } = this
    this.record = { incarnation, boot }
    return record === null ? undefined : { incarnation: record.incarnation, intact: record.boot === boot }
  }

  end (ending: Ending): void {
    if (ending === 'power') this.boot++
    for (const kv of this.kvs.values()) {
      if (ending === 'power') kv.crash(this.random)
      else kv.kill()
    }
    if (ending === 'power') this.files.crash(this.random)
    else this.files.kill()
    this.files = this.files.reopen()
  }

  private open (name: string): MemoryKv {
    const kv = this.kvs.get(name)?.reopen() ?? new MemoryKv({ clock: this.clock, random: this.random.fork() }, this.times)
    this.kvs.set(name, kv)
    return kv
  }
}
