import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { Address } from '../../fsnode/protocol/ports.ts'

export interface ZooKeeperAddress {
  servers: Address[]
  /** Where the masters are, without a slash at the end. */
  path: string
  /** `user:password` of the digest scheme. */
  digest?: string
}

const portDefault = 2181

export const isZooKeeperUrl = (text: string): boolean => /^zk:\/\//i.test(text)

/** Of `zk://[user:password@]host1[:port],host2[:port]/path`. Throws ATOLL_INVALID_MASTER. */
export function parseZooKeeperUrl (text: string): ZooKeeperAddress {
  const match = /^zk:\/\/(?:([^@/]*)@)?([^/@]+)(\/[^\s]*)$/i.exec(text)
  const servers = match?.[2]!.split(',').map(parseServer) ?? []
  const path = match?.[3]!.replace(/\/+$/, '') ?? ''
  if (servers.length === 0 || servers.includes(undefined) || path === '' || path.includes('//')) {
    throw new AtollError('ATOLL_INVALID_MASTER', `not a ZooKeeper address: '${text.replace(/\/\/[^@/]*@/, '//...@')}'`, {
      hint: 'Give zk://host1:2181,host2:2181/mesos.'
    })
  }
  const digest = match![1]
  return { servers: servers as Address[], path, ...(digest === undefined || digest === '' ? {} : { digest }) }
}

function parseServer (text: string): Address | undefined {
  const match = /^(\[[0-9a-f:]+\]|[^:\s]+)(?::(\d{1,5}))?$/i.exec(text)
  if (match === null) return undefined
  const port = match[2] === undefined ? portDefault : Number(match[2])
  return port > 0 && port < 65_536 ? { host: match[1]!.replace(/^\[|\]$/g, ''), port } : undefined
}
