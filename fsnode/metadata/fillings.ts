import { metadataPartitionId } from '../../partitioning/routing.ts'
import { homeElsewhere, shareElsewhere, spreadInodesMin, type Filling } from '../../partitioning/directory-homes.ts'
import { codeOf } from '../protocol/errors.ts'
import { fillingAgeMsMax, fillingsAsked, fillingTimeoutMs } from './constants.ts'
import type { Leader } from './leader.ts'
import { callPartition } from './transactions/call.ts'
import type { FillingAnswer, QueryBody } from './transactions/messages.ts'

/**
 * How full other metadata partitions of the volume are, asked of some of them now and then while this one is so full that it matters. With more
 * than `fillingsAsked` of them others are asked each time.
 */
export class Fillings {
  private readonly leader: Leader
  private others: Filling[] = []
  private askedAtMs = -Infinity

  constructor (leader: Leader) {
    this.leader = leader
  }

  /** Of the directories that are made below those of this partition. What is known may be some seconds old. */
  get shareElsewhere (): number {
    const { volume } = this.leader.init
    if (volume.metadataPartitions < 2 || this.inodes < this.inodesMin) return 0
    this.askNowAndThen()
    return shareElsewhere(this.inodes, this.others, this.inodesMin)
  }

  /** Where to make a directory that is to be made elsewhere; null: nowhere is better than here. */
  homeElsewhere (): number | null {
    const { random } = this.leader.components
    const home = this.shareElsewhere === 0 ? null : homeElsewhere(this.inodes, this.others, [random.next(), random.next()])
    // So that not all go to the same until it is asked again.
    for (const other of this.others) if (other.index === home) other.inodes++
    return home
  }

  private get inodes (): number { return this.leader.store.counters.inodes }

  private get inodesMin (): number { return this.leader.components.spreadInodesMin ?? spreadInodesMin }

  private askNowAndThen (): void {
    const { clock, log } = this.leader.components
    if (clock.now() - this.askedAtMs < fillingAgeMsMax) return
    this.askedAtMs = clock.now()
    void Promise.all(this.drawn().map((index) => this.ask(index).catch((error: unknown) => {
      log.debug('a partition does not tell how full it is', { index, code: codeOf(error) })
      return null
    }))).then((answers) => { this.others = answers.filter((answer) => answer !== null) })
  }

  /** Some of the other partitions, each as likely as any. */
  private drawn (): number[] {
    const { components: { random }, init: { volume, index } } = this.leader
    const rest = Array.from({ length: volume.metadataPartitions }, (_, other) => other).filter((other) => other !== index)
    const drawn: number[] = []
    while (rest.length > 0 && drawn.length < fillingsAsked) drawn.push(...rest.splice(Math.floor(random.next() * rest.length), 1))
    return drawn
  }

  private async ask (index: number): Promise<Filling | null> {
    const query: QueryBody = { kind: 'filling' }
    const { body } = await callPartition(this.leader, metadataPartitionId(this.leader.init.volume.id, index), { step: 'query', body: query }, {
      patienceMs: fillingTimeoutMs, timeoutMs: fillingTimeoutMs
    })
    // Nodes of an earlier version have no answer.
    const inodes = (body as FillingAnswer | undefined)?.inodes
    return typeof inodes === 'number' ? { index, inodes } : null
  }
}
