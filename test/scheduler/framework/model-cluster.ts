import type { ClusterMap, NodeInfo } from '../../../partitioning/types.ts'
import type { ClusterLinkFactory } from '../../../scheduler/framework/cluster-link.ts'
import type { SimClock } from '../../sim/clock.ts'
import type { ModelMaster } from './model-master.ts'
import { volumeOf } from './model-resources.ts'

const tickMs = 1_000
/** A node is down when its task has not run for so long. */
const leaseMs = 5_000
const partitions = 3
const replicasWanted = 2

/** `volume`: that it last ran on, where its data is. */
interface Member { id: string, incarnation: string, volume: string | undefined, seenMs: number, draining: boolean, up: boolean }

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
  #version = 0
  readonly #links = new Set<(map: ClusterMap) => void>()
  /** The manager answers. */
  reachable = true
  #stopped = false

  constructor (clock: SimClock, master: ModelMaster) {
    this.#clock = clock
    this.#master = master
    master.onDestroy = (persistenceId) => { this.#destroyed(persistenceId) }
    this.#tick()
  }

  stop (): void { this.#stopped = true }

  linkFactory (isAlive: () => boolean): ClusterLinkFactory {
    return ({ onMap }) => {
      const listener = (map: ClusterMap): void => { if (isAlive()) onMap(map) }
      return {
        useSeeds: (seeds) => { if (seeds.length > 0) this.#links.add(listener) },
        request: (request) => {
          if (!isAlive()) return
          const member = this.#members.get(request.node)
          if (member === undefined) return
          if (request.type === 'drain') member.draining = request.drain
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
      nodes: [...this.#members.values()].map(({ id, incarnation, up, draining }): NodeInfo => ({
        id, incarnation, peerId: id, host: id, rpcPort: 1, raftPort: 2, domain: [], capacityBytes: 1, usedBytes: 0, disk: null, state: !up ? 'down' : draining ? 'draining' : 'up'
      })),
      managers: this.#managers,
      volumes: [],
      data: this.#data.map((replicas, index) => ({
        id: `1.d.${index}`, volume: 1, index, epoch: 1, primary: replicas[0] ?? null,
        replicas: replicas.map((node) => ({ node, state: this.#members.get(node)?.up === true ? 'serving' : 'offline' }))
      })),
      metadata: []
    }
  }

  #holds (id: string): boolean { return this.#managers.includes(id) || this.#data.some((replicas) => replicas.includes(id)) }

  #destroyed (persistenceId: string): void {
    const id = persistenceId.split('.')[0]!
    if (this.#holds(id) && this.#members.get(id)?.volume === persistenceId) this.#master.violations.push(`the volume of ${id} was destroyed while it holds data`)
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
      const member = this.#members.get(info.name) ?? { id: info.name, incarnation: '', volume: undefined, seenMs: 0, draining: false, up: false }
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
