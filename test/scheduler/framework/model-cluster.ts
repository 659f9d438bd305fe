import type { ClusterMap, NodeInfo } from '../../../partitioning/types.ts'
import type { ClusterLinkFactory } from '../../../scheduler/framework/cluster-link.ts'
import type { SimClock } from '../../sim/clock.ts'
import type { ModelMaster } from './model-master.ts'
import { volumeOf } from './model-resources.ts'
import type { ModelAgent } from './model-resources.ts'

const tickMs = 1_000
/** A node is down when its task has not run for so long. */
const leaseMs = 5_000
const partitions = 3
/** What was heard so long ago may be what was decided by. */
const heardMs = 10_000
const replicasWanted = 2

/** `volume`: that it last ran on, where its data is. */
interface Member { id: string, incarnation: string, volume: string | undefined, seenMs: number, draining: boolean, yields: boolean, up: boolean }

/**
 * The storage cluster as the framework sees it: nodes whose tasks run are up; partitions have two replicas, which move off
 * nodes that are drained, one each second. Naive, and watched: what holds data must not be destroyed.
 */
export class ModelCluster {
  readonly #master: ModelMaster
  readonly #clock: SimClock
  readonly #members = new Map<string, Member>()
  readonly #data: string[][] = Array.from({ length: partitions }, () => [])
  #managers: string[] = []
  /** What the scheduler has heard last, each with its time. */
  #heard: Array<{ map: ClusterMap, atMs: number }> = []
  #version = 0
  readonly #links = new Set<(map: ClusterMap) => void>()
  /** The manager answers. */
  reachable = true
  #stopped = false

  constructor (clock: SimClock, master: ModelMaster) {
    this.#clock = clock
    this.#master = master
    master.onDestroy = (persistenceId) => { this.#destroyed(persistenceId) }
    master.maintenance.onConsent = (agents) => { this.#letGo(agents) }
    this.#tick()
  }

  stop (): void { this.#stopped = true }

  linkFactory (isAlive: () => boolean): ClusterLinkFactory {
    return ({ onMap }) => {
      // Another process of the scheduler has heard nothing yet.
      this.#heard = []
      const listener = (map: ClusterMap): void => {
        if (!isAlive()) return
        this.#heard = [...this.#heard.filter(({ atMs }) => atMs >= this.#clock.now() - heardMs), { map, atMs: this.#clock.now() }]
        onMap(map)
      }
      return {
        useSeeds: (seeds) => { if (seeds.length > 0) this.#links.add(listener) },
        request: (request) => {
          if (!isAlive()) return
          const member = this.#members.get(request.node)
          if (member === undefined) return
          if (request.type === 'drain') member.draining = request.drain
          else if (request.type === 'yield') member.yields = request.yields
          else if (!member.up && !this.#holds(member.id)) this.#members.delete(member.id)
        },
        close: () => { this.#links.delete(listener) }
      }
    }
  }

  get map (): ClusterMap {
    return {
      clusterId: 'model',
      version: this.#version,
      nodes: [...this.#members.values()].map(({ id, incarnation, up, draining, yields }): NodeInfo => ({
        id, incarnation, peerId: id, host: id, rpcPort: 1, raftPort: 2, domain: [], capacityBytes: 1, usedBytes: 0, disk: null, state: !up ? 'down' : draining ? 'draining' : 'up', ...(yields ? { yields: this.leads(id) ? 'asked' : 'done' } : {})
      })),
      managers: this.#managers,
      volumes: [],
      data: this.#data.map((replicas, index) => ({
        id: `1.d.${index}`, volume: 1, index, epoch: 1, primary: this.#primaryOf(replicas),
        replicas: replicas.map((node) => ({ node, state: this.#members.get(node)?.up === true ? 'serving' : 'offline' }))
      })),
      metadata: []
    }
  }

  /** Not one that is going to be away while another is there. */
  #primaryOf (replicas: string[]): string | null {
    const up = replicas.filter((id) => this.#members.get(id)?.up === true)
    return up.find((id) => this.#members.get(id)?.yields !== true) ?? up[0] ?? null
  }

  /** What another could. */
  leads (id: string): boolean {
    return this.#data.some((replicas) => this.#primaryOf(replicas) === id && replicas.some((other) => this.#members.get(other)?.up === true && this.#members.get(other)?.yields !== true))
  }

  #holds (id: string): boolean { return this.#managers.includes(id) || this.#data.some((replicas) => replicas.includes(id)) }

  #destroyed (persistenceId: string): void {
    const id = persistenceId.split('.')[0]!
    if (this.#holds(id) && this.#members.get(id)?.volume === persistenceId) this.#master.violations.push(`the volume of ${id} was destroyed while it holds data`)
  }

  /** Machines may go together only if the last that was heard shows each partition a replica elsewhere that serves, and the manager a majority. */
  #letGo (agents: ModelAgent[]): void {
    const away = new Set(this.#master.liveTasks().filter(({ agent }) => agents.includes(agent)).map(({ info }) => info.name))
    const isUp = (map: ClusterMap, id: string): boolean => !away.has(id) && map.nodes.some((node) => node.id === id && node.state !== 'down')
    const isGood = ({ map }: { map: ClusterMap }): boolean =>
      map.data.every(({ replicas }) => !replicas.some(({ node }) => away.has(node)) || replicas.some(({ node }) => isUp(map, node))) &&
      (!map.managers.some((id) => away.has(id)) || map.managers.filter((id) => isUp(map, id)).length > map.managers.length / 2)
    if (this.#heard.length > 0 && !this.#heard.some(isGood)) this.#master.violations.push(`${[...away].join(', ')} may go together, which costs a quorum`)
  }

  #tick (): void {
    if (this.#stopped) return
    this.#heartbeats()
    this.#placeAll()
    this.#version++
    if (this.reachable) for (const listener of [...this.#links]) listener(this.map)
    this.#clock.setTimer(() => { this.#tick() }, tickMs)
  }

  #heartbeats (): void {
    for (const { info, agent, state } of this.#master.liveTasks()) {
      // A node needs a moment from its launch until it is known; an agent that is away does not keep it from being.
      if (state !== 'TASK_RUNNING' || agent.isGone) continue
      const member = this.#members.get(info.name) ?? { id: info.name, incarnation: '', volume: undefined, seenMs: 0, draining: false, yields: false, up: false }
      if (member.incarnation !== info.task_id.value) member.yields = false
      this.#members.set(info.name, Object.assign(member, { incarnation: info.task_id.value, volume: volumeOf(info), seenMs: this.#clock.now(), up: true }))
    }
    for (const member of this.#members.values()) if (member.seenMs + leaseMs < this.#clock.now()) member.up = false
  }

  #placeAll (): void {
    const good = [...this.#members.values()].filter(({ up, draining }) => up && !draining).map(({ id }) => id)
    if (good.length === 0) return
    for (const replicas of this.#data) this.#place(replicas, good, replicasWanted)
    this.#place(this.#managers, good, 3)
  }

  /** One change each second: adds what is missing, then takes off what has a stand-in. */
  #place (replicas: string[], good: string[], wanted: number): void {
    const here = replicas.filter((id) => good.includes(id))
    const next = good.find((id) => !replicas.includes(id))
    if (here.length < wanted && next !== undefined) {
      replicas.push(next)
      return
    }
    const leaving = replicas.findIndex((id) => this.#members.get(id)?.draining === true)
    if (leaving !== -1 && here.length >= Math.min(wanted, good.length)) replicas.splice(leaving, 1)
    else if (replicas.length > wanted && here.length > wanted) replicas.splice(replicas.indexOf(here.at(-1)!), 1)
  }
}
