import type { Handlers } from '../protocol/peer.ts'
import type { Manager } from './manager.ts'

/** What a node that carries a replica of the manager answers; `find` throws what others answer. */
export function managerHandlers (find: () => Manager): Handlers {
  return {
    'manager.register': async (request) => ({ body: { map: await find().register(request) } }),
    'manager.heartbeat': async (request) => ({ body: await find().heartbeat(request) }),
    'manager.create-volume': async (request) => ({ body: await find().createVolume(request) }),
    'manager.remove-volume': async (request) => {
      await find().removeVolume(request)
      return { body: {} }
    },
    'manager.report-replica': async (request) => ({ body: { map: await find().reportReplica(request) } }),
    'manager.replica-synced': async (request) => ({ body: { map: await find().replicaSynced(request) } }),
    'manager.split-partition': async (request) => ({ body: { map: await find().splitPartition(request) } }),
    'manager.drain-node': async (request) => {
      await find().drainNode(request)
      return { body: {} }
    },
    'manager.yield-node': async (request) => ({ body: await find().yieldNode(request) }),
    'manager.members-changed': async (request) => ({ body: { map: await find().membersChanged(request) } }),
    'manager.move-partition': async (request) => ({ body: await find().movePartition(request) }),
    'manager.rebalance': async (request) => ({ body: await find().rebalance(request) }),
    'manager.plans': async (request) => ({ body: await find().plans(request) }),
    'manager.plan': async ({ plan }) => ({ body: await find().plan(plan) }),
    'manager.control-plan': async (request) => ({ body: await find().controlPlan(request) }),
    'manager.remove-node': async (request) => {
      await find().removeNode(request)
      return { body: {} }
    },
    'manager.backup': async () => ({ body: { backup: await find().backup() } }),
    'manager.restore': async (request) => ({ body: await find().restore(request) }),
    'manager.set-balance': async (request) => ({ body: await find().setBalance(request) }),
    'manager.set-volume': async (request) => ({ body: await find().setVolume(request) }),
    'manager.loads': async () => ({ body: await find().loads() }),
    'manager.map': async (request) => ({ body: await find().nextMap(request) })
  }
}
