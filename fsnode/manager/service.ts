import type { Handlers } from '../protocol/peer.ts'
import type { Manager } from './manager.ts'

/** What a node that carries a replica of the manager answers. */
export function managerHandlers (manager: Manager): Handlers {
  return {
    'manager.register': async (request) => ({ body: { map: await manager.register(request) } }),
    'manager.heartbeat': async (request) => ({ body: await manager.heartbeat(request) }),
    'manager.create-volume': async (request) => ({ body: await manager.createVolume(request) }),
    'manager.remove-volume': async (request) => {
      await manager.removeVolume(request)
      return { body: {} }
    },
    'manager.report-replica': async (request) => ({ body: { map: await manager.reportReplica(request) } }),
    'manager.replica-synced': async (request) => ({ body: { map: await manager.replicaSynced(request) } }),
    'manager.drain-node': async (request) => {
      await manager.drainNode(request)
      return { body: {} }
    },
    'manager.move-partition': async (request) => ({ body: await manager.movePartition(request) }),
    'manager.rebalance': async (request) => ({ body: await manager.rebalance(request) }),
    'manager.plans': async () => ({ body: await manager.plans() }),
    'manager.plan': async ({ plan }) => ({ body: await manager.plan(plan) }),
    'manager.control-plan': async (request) => ({ body: await manager.controlPlan(request) }),
    'manager.set-balance': async (request) => ({ body: await manager.setBalance(request) }),
    'manager.set-volume': async (request) => ({ body: await manager.setVolume(request) }),
    'manager.loads': async () => ({ body: await manager.loads() }),
    'manager.map': async (request) => ({ body: await manager.nextMap(request) })
  }
}
