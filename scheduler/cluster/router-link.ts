import { messageOf } from '../../fsnode/protocol/errors.ts'
import type { Address, Timer } from '../../fsnode/protocol/ports.ts'
import { ClusterRouter } from '../../fsnode/protocol/router.ts'
import type { RouterComponents } from '../../fsnode/protocol/router.ts'
import type { ClusterLink, ClusterLinkFactory, ClusterLinkInit } from '../framework/cluster-link.ts'
import type { ClusterRequest } from '../framework/drains.ts'

/** How often the manager's leader is asked for its map. */
export const pollIntervalMs = 2_000
/** One question, with all its attempts. */
export const patienceMs = 8_000
const requestsMax = 100

/** The cluster by its own protocol: the map of the manager's leader, and its requests. */
export const routerLink = (components: RouterComponents): ClusterLinkFactory => (init) => new RouterLink(components, init)

class RouterLink implements ClusterLink {
  readonly #components: RouterComponents
  readonly #init: ClusterLinkInit
  #seeds: Address[] = []
  #router: ClusterRouter | undefined
  #timer: Timer | undefined
  #busy = false
  #requests = 0
  #closed = false

  constructor (components: RouterComponents, init: ClusterLinkInit) {
    this.#components = components
    this.#init = init
  }

  useSeeds (seeds: Address[]): void {
    this.#seeds = seeds
    if (seeds.length > 0 && this.#timer === undefined && !this.#busy) this.#poll()
  }

  request (request: ClusterRequest): void {
    const router = this.#router
    if (router === undefined || this.#requests >= requestsMax) return
    this.#requests++
    sent(router, request)
      // What has come of it is worth a look.
      .then(() => { if (!this.#closed && !this.#busy) this.#poll() })
      .catch((error: unknown) => { this.#components.log.warn('the cluster does not take a request', { ...request, reason: messageOf(error) }) })
      .finally(() => { this.#requests-- })
  }

  close (): void {
    this.#closed = true
    this.#timer?.cancel()
    this.#router?.close()
  }

  #poll (): void {
    this.#timer?.cancel()
    this.#busy = true
    this.#ask()
      .catch((error: unknown) => { this.#components.log.debug('the cluster does not answer', { reason: messageOf(error) }) })
      .finally(() => {
        this.#busy = false
        if (!this.#closed) this.#timer = this.#components.clock.setTimer(() => { this.#poll() }, pollIntervalMs)
      })
  }

  async #ask (): Promise<void> {
    const router = this.#router ?? await this.#connect()
    const { body } = await router.toManager('manager.map', { after: router.mapVersion, waitMs: 0 }, { patienceMs })
    if (this.#closed) return
    if (body.map !== undefined) router.adopt(body.map)
    if (router.map.clusterId === this.#init.clusterId) this.#init.onMap(router.map)
    else this.#components.log.error('another cluster answers at the address of a node', { expected: this.#init.clusterId, found: router.map.clusterId })
  }

  /** The first answer comes from one of the nodes; later the map says where all are. */
  async #connect (): Promise<ClusterRouter> {
    const router = new ClusterRouter(this.#components, { seeds: this.#seeds })
    try {
      await router.start(patienceMs)
    } catch (error) {
      router.close()
      throw error
    }
    if (this.#closed) router.close()
    this.#router = router
    return router
  }
}

function sent (router: ClusterRouter, request: ClusterRequest): Promise<unknown> {
  const { node } = request
  switch (request.type) {
    case 'drain': return router.toManager('manager.drain-node', { node, drain: request.drain }, { patienceMs })
    case 'forget': return router.toManager('manager.remove-node', { node }, { patienceMs })
    case 'yield': return router.toManager('manager.yield-node', { node, yields: request.yields }, { patienceMs })
  }
}
