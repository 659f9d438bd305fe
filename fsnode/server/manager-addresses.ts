import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { ClusterMap } from '../../partitioning/types.ts'
import type { NodeAddress } from '../protocol/node-spec.ts'

/** Where the manager's members were when this node last knew: the first ones may have left it long ago. */
export interface ManagerAddresses {
  load (): NodeAddress[]
  save (managers: NodeAddress[]): void
}

/** In a file of the node's directory. What cannot be read counts as not there. */
export function managerAddressesIn (directory: string): ManagerAddresses {
  const path = join(directory, 'managers.json')
  let last = read(path)
  return {
    load: () => last,
    save (managers) {
      const file = openSync(`${path}.new`, 'w')
      try {
        writeSync(file, JSON.stringify(managers))
        fsyncSync(file)
      } finally {
        closeSync(file)
      }
      renameSync(`${path}.new`, path)
      last = managers
    }
  }
}

function read (path: string): NodeAddress[] {
  try {
    const managers = JSON.parse(readFileSync(path, 'utf8')) as NodeAddress[]
    return Array.isArray(managers) ? managers.filter(isSound) : []
  } catch {
    return []
  }
}

/** All that may carry a member now. */
export function managersOf (map: ClusterMap): NodeAddress[] {
  const ids = [...new Set([...map.managers, ...map.managersChange?.hosts ?? []])]
  return ids.flatMap((id) => {
    const node = map.nodes.find((candidate) => candidate.id === id)
    return node === undefined ? [] : [{ id, host: node.host, rpcPort: node.rpcPort, raftPort: node.raftPort }]
  })
}

function isSound (address: NodeAddress): boolean {
  return typeof address?.id === 'string' && typeof address.host === 'string' && Number.isInteger(address.rpcPort) && Number.isInteger(address.raftPort)
}
