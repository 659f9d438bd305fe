import { AtollError } from './errors.ts'

/** What a storage node is launched with: JSON in the environment variable ATOLL_NODE. */
export interface NodeSpec {
  clusterId: string
  nodeId: string
  /** Where others reach it; it listens there. */
  host: string
  rpcPort: number
  raftPort: number
  /** Relative to the task's working directory, or absolute. */
  dataDirectory: string
  /** The first members of the manager's Raft group, this node perhaps among them. */
  managers: NodeAddress[]
  capacityBytes: number
  /** Widest first: region, zone, rack, agent. */
  domain: string[]
}

export interface NodeAddress { id: string, host: string, rpcPort: number, raftPort: number }

export const nodeSpecVariable = 'ATOLL_NODE'

/** @throws AtollError ATOLL_BAD_ARGUMENT naming the first thing that is wrong. */
export function parseNodeSpec (text: string | undefined): NodeSpec {
  const wrong = (what: string): never => {
    throw new AtollError('ATOLL_BAD_ARGUMENT', `${nodeSpecVariable}: ${what}`, { hint: 'storage nodes are launched by a scheduler: atoll up, or atoll scheduler' })
  }
  if (text === undefined || text === '') wrong('not set')
  let spec: NodeSpec
  try {
    spec = JSON.parse(text!)
  } catch {
    return wrong('not JSON')
  }
  for (const name of ['clusterId', 'nodeId', 'host', 'dataDirectory'] as const) {
    if (typeof spec[name] !== 'string' || spec[name] === '') wrong(`${name} is missing`)
  }
  for (const name of ['rpcPort', 'raftPort'] as const) if (!isPort(spec[name])) wrong(`${name} is not a port`)
  if (!Array.isArray(spec.managers) || spec.managers.length === 0) wrong('managers is empty')
  for (const manager of spec.managers) {
    if (typeof manager.id !== 'string' || typeof manager.host !== 'string' || !isPort(manager.rpcPort)) wrong('a manager has no address')
  }
  if (!(spec.capacityBytes > 0)) wrong('capacityBytes is not positive')
  return { ...spec, domain: Array.isArray(spec.domain) ? spec.domain : [] }
}

function isPort (value: unknown): boolean {
  return Number.isInteger(value) && (value as number) > 0 && (value as number) < 65_536
}
