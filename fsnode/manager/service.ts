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
    'manager.map': async (request) => ({ body: await manager.nextMap(request) })
  }
}
