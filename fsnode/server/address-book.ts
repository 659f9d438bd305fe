import type { ClusterMap, NodeId } from '../../partitioning/types.ts'
import type { NodeHello } from '../protocol/manager.ts'
import type { NodeAddress } from '../protocol/node-spec.ts'
import { PeerPool } from '../protocol/pool.ts'
import type { Clock, Network } from '../protocol/ports.ts'

export const helloIntervalMs = 100

export interface RaftAddress { peerId: string, host: string, raftPort: number }

/**
 * Where consensus traffic for a node goes. The cluster map knows every registered node; before there
 * is a map, the managers are asked for their identity directly.
 */
export class AddressBook {
  private readonly components: { network: Network, clock: Clock }
  private readonly known = new Map<NodeId, RaftAddress>()
  private closed = false

  constructor (components: { network: Network, clock: Clock }) { this.components = components }

  resolve (node: NodeId): RaftAddress | undefined { return this.known.get(node) }

  adopt (map: ClusterMap): void {
    for (const { id, peerId, host, raftPort } of map.nodes) if (peerId !== '') this.known.set(id, { peerId, host, raftPort })
  }

  /** Asks each manager who it is until all have answered or the book is closed. */
  meet (managers: NodeAddress[], self: NodeHello): void {
    this.learn(self)
    const pool = new PeerPool(this.components)
    const others = managers.filter((manager) => manager.id !== self.nodeId)
    void Promise.all(others.map((manager) => this.ask(pool, manager, self.clusterId))).finally(() => { pool.close() })
  }

  close (): void { this.closed = true }

  private learn ({ nodeId, peerId, host, raftPort }: NodeHello): void { this.known.set(nodeId, { peerId, host, raftPort }) }

  private async ask (pool: PeerPool, manager: NodeAddress, clusterId: string): Promise<void> {
    while (!this.closed && !this.known.has(manager.id)) {
      try {
        const peer = await pool.get({ host: manager.host, port: manager.rpcPort })
        const { body } = await peer.call('node.hello', {})
        if (body.clusterId === clusterId && body.nodeId === manager.id) {
          this.learn(body)
          return
        }
      } catch {
        // Not up yet.
      }
      await new Promise<void>((resolve) => { this.components.clock.setTimer(resolve, helloIntervalMs) })
    }
  }
}
