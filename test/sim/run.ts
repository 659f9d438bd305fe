import { metadataIndexOf, rootInode } from '../../partitioning/routing.ts'
import { checkRegisters } from './checkers/registers.ts'
import { checkReplicas } from './checkers/replicas.ts'
import { Primaries } from './checkers/primaries.ts'
import { RaftLeaders } from './checkers/raft-leaders.ts'
import { checkSizes } from './checkers/sizes.ts'
import { Survivors } from './checkers/survivors.ts'
import { checkTree, type CheckResult } from './checkers/tree.ts'
import { SimClient } from './client.ts'
import { SimCluster } from './cluster.ts'
import { drawConfig, type SimConfig } from './config.ts'
import { Faults } from './faults.ts'
import { describe, History, type Operation } from './history.ts'
import type { LogLine } from './log.ts'
import { SimRandom } from './random.ts'
import { parseAddress } from '../../fsnode/raft/member-id.ts'
import { Operator } from './operator.ts'
import { Workload } from './workload.ts'

const checkIntervalMs = 20
/** After the last fault, everything serves again within this virtual time. */
const healthyWithinMs = 120_000
/** And whatever clients have under way comes to its end. */
const quietWithinMs = 120_000
/** Long enough for leases to run out, orphans to be collected and caches of the disk to be written. */
const quiescenceMs = 20_000
const surveyors = 1
/** A client says so of what it told to be written, when nobody is left who could be told. */
const lostWrites = new Set(['changes of a file are lost', 'a write that was acknowledged is lost'])

export interface RunOptions {
  /** In place of what the seed draws. */
  config?: Partial<SimConfig>
  onLog?: (time: number, line: LogLine) => void
  onOperation?: (line: string) => void
}

export interface RunReport {
  seed: number
  config: SimConfig
  /** Broken promises. None: the run is sound. */
  violations: string[]
  /** The same for each run of the same seed. */
  traceHash: string
  virtualMs: number
  operations: number
  /** Operations whose outcome nobody knows, by code. */
  unknown: Record<string, number>
  faults: Record<string, number>
  /** What the operator did. */
  operated: Record<string, number>
  /** Searches that were given up. */
  undecided: number
  /** Directories, but for those in the root, that were made in another metadata partition than that of their parent. */
  madeElsewhere: number
  /** Tasks that a framework launched. */
  launches: number
  powerLosses: number
  terms: number
  /** Virtual time from the end of the faults until all was well. */
  recoveryMs: number
}

/** One life of a cluster under a seed: work and faults, then none, then a look at everything. */
export async function runSeed (seed: number, options: RunOptions = {}): Promise<RunReport> {
  return new Run(seed, options).play()
}

class Run {
  private readonly seed: number
  private readonly config: SimConfig
  private readonly options: RunOptions
  private readonly cluster: SimCluster
  private readonly history = new History()
  private readonly workload: Workload
  private readonly clients: SimClient[]
  private readonly faults: Faults
  private readonly operator: Operator
  private readonly leaders: RaftLeaders
  private readonly primaries: Primaries
  private readonly survivors: Survivors
  private undecided = 0
  private recoveryMs = 0

  constructor (seed: number, options: RunOptions) {
    this.seed = seed
    this.options = options
    this.config = { ...drawConfig(new SimRandom(seed)), ...options.config }
    const cluster = this.cluster = new SimCluster(seed, this.config)
    const violation = (what: string): void => { cluster.violation(what) }
    this.workload = new Workload(cluster, this.history, this.config.pauseMsMax)
    this.clients = Array.from({ length: this.config.clients }, (_, at) => new SimClient(cluster, `client-${at + 1}`, () => this.history.place))
    this.leaders = new RaftLeaders(violation)
    this.primaries = new Primaries(cluster.nodes, violation)
    this.survivors = new Survivors(() => {
      this.history.powerLoss()
      cluster.logger('faults').info('data lost its power')
    })
    this.faults = new Faults(cluster, {
      config: this.config,
      clients: this.clients,
      onPowerFailure: ({ id }) => { this.survivors.powerFailed(id) },
      onClientCrash: (client, takenOver) => {
        if (!takenOver) this.workload.changesLost(client)
        this.workload.vanished(client.process!)
      },
      onClientStart: (client) => { this.startClient(client) }
    })
    this.operator = new Operator(cluster, this.config)
    this.observe()
  }

  async play (): Promise<RunReport> {
    try {
      await this.cluster.start()
      await this.cluster.clock.until(() => this.cluster.healthy, healthyWithinMs, 'health at the start')
      for (const client of this.clients) this.startClient(client)
      this.faults.start()
      this.operator.start()
      await this.cluster.clock.advance(this.config.durationMs)
      await this.recover()
      await this.survey()
      await this.cluster.clock.advance(quiescenceMs)
      for (const fault of await checkReplicas(this.cluster)) this.cluster.violation(fault)
    } catch (error) {
      this.cluster.violation(error instanceof Error ? error.stack ?? error.message : String(error))
    }
    this.judge(checkTree(this.history))
    this.judge(checkSizes(this.history))
    this.judge(checkRegisters(this.history))
    return this.report()
  }

  private startClient (client: SimClient): void {
    if (client.process === null) void this.workload.run(client, this.config.workers)
  }

  /** The faults end; within bounded time all is well, and every operation comes to its end. */
  private async recover (): Promise<void> {
    const { clock } = this.cluster
    this.faults.heal()
    const healedAt = clock.now()
    await clock.run(this.operator.settle(), healthyWithinMs)
    await this.within(() => this.cluster.healthy, healthyWithinMs, () => `not healthy: ${this.cluster.ailments().join('; ')}`)
    this.recoveryMs = clock.now() - healedAt
    this.workload.stopped = true
    await this.within(() => this.workload.isIdle, quietWithinMs, () => `operations do not end: ${this.unfinished().join('; ')}`)
  }

  /** Every client, and one that comes new, looks at everything; all must agree. */
  private async survey (): Promise<void> {
    const { cluster, clients, workload } = this
    for (let at = 0; at < surveyors; at++) clients.push(new SimClient(cluster, `surveyor-${at + 1}`, () => this.history.place))
    const unknownBefore = sum(workload.unknownCodes)
    await cluster.clock.run(Promise.all(clients.map(async (client) => {
      const process = client.process ?? await client.start()
      await workload.worker(client, process!).survey(1, (ino) => this.rangesOf(ino))
    })), quietWithinMs)
    if (sum(workload.unknownCodes) !== unknownBefore) cluster.violation(`without faults, operations fail: ${JSON.stringify(Object.fromEntries(workload.unknownCodes))}`)
  }

  /** Where anything was ever written, in as few pieces as that takes. */
  private rangesOf (ino: number): Array<[cell: number, cells: number]> {
    const written = this.history.operations.flatMap(({ call }) => call.kind === 'write' && call.ino === ino ? [[call.cell, call.cell + call.cells] as const] : [])
    const ranges: Array<[number, number]> = []
    for (const [first, end] of written.sort(([one], [other]) => one - other)) {
      const last = ranges[ranges.length - 1]
      if (last !== undefined && first <= last[0] + last[1]) last[1] = Math.max(last[1], end - last[0])
      else ranges.push([first, end - first])
    }
    return ranges
  }

  private async within (condition: () => boolean, limitMs: number, complaint: () => string): Promise<void> {
    await this.cluster.clock.until(condition, limitMs).catch(() => { throw new Error(`${limitMs} ms after the faults: ${complaint()}`) })
  }

  private unfinished (): string[] {
    return this.history.operations.filter(({ code, returned, outcome }) => returned === Infinity && outcome === 'unknown' && code === undefined).map(describe)
  }

  private judge ({ faults, undecided }: CheckResult): void {
    this.undecided += undecided
    for (const fault of faults) this.cluster.violation(fault)
  }

  private observe (): void {
    const { cluster, history, options } = this
    cluster.raft.onSend = (from, to, address, message) => { this.leaders.sent(from, parseAddress(address, from, to).group, message) }
    cluster.onLog = (line) => {
      if (line.message.startsWith('session expired')) for (const client of this.clients) if (client.host === line.who) client.sessionsLost++
      if (line.message === 'a change that was acknowledged is lost') for (const client of this.clients) if (client.host === line.who) this.workload.changesLost(client)
      if (lostWrites.has(line.message)) this.workload.writesLost(line.who)
      options.onLog?.(cluster.clock.now(), line)
    }
    cluster.onMap = (map) => {
      this.survivors.learned(map)
      this.primaries.check()
    }
    history.onChange = (operation, ended) => {
      const line = describe(operation)
      cluster.trace.note(cluster.clock.now(), line)
      if (ended) options.onOperation?.(line)
    }
    const check = (): void => {
      this.primaries.check()
      cluster.clock.setTimer(check, checkIntervalMs)
    }
    check()
  }

  private report (): RunReport {
    const { cluster, history, workload } = this
    return {
      seed: this.seed,
      config: this.config,
      violations: cluster.violations,
      traceHash: cluster.trace.hash,
      virtualMs: Math.round(cluster.clock.now()),
      operations: history.operations.length,
      unknown: Object.fromEntries(workload.unknownCodes),
      faults: Object.fromEntries(this.faults.counts),
      operated: Object.fromEntries(this.operator.counts),
      undecided: this.undecided,
      madeElsewhere: history.operations.filter(isMadeElsewhere).length,
      launches: cluster.scheduling?.launches ?? 0,
      powerLosses: history.powerLosses.length,
      terms: this.leaders.terms,
      recoveryMs: Math.round(this.recoveryMs)
    }
  }
}

/** A directory, not in the root, that lives in another metadata partition than the one that it was made in. */
function isMadeElsewhere ({ call, result }: Operation): boolean {
  return call.kind === 'mkdir' && call.dir !== rootInode && result.ino !== undefined && metadataIndexOf(result.ino) !== metadataIndexOf(call.dir)
}

function sum (counts: Map<string, number>): number { return [...counts.values()].reduce((total, count) => total + count, 0) }
