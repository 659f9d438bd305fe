import type { NodeId } from '../../partitioning/types.ts'
import type { Random } from '../protocol/ports.ts'

/**
 * A member of a group is a replica, not a node: one that was removed and is added again begins with an empty log, and must not be
 * taken for the former one, which voted, and acknowledged entries. So the first members of a group have the names of
 * their nodes, and each later one the node's name and a tag of its own.
 */
export type MemberId = string

const separator = '~'
const tagBytes = 6

export function freshMemberId (node: NodeId, random: Random): MemberId {
  return `${node}${separator}${random.bytes(tagBytes).toString('hex')}`
}

export function nodeOfMember (member: MemberId): NodeId {
  const at = member.indexOf(separator)
  return at < 0 ? member : member.slice(0, at)
}

function tagOf (member: MemberId): string { return member.slice(nodeOfMember(member).length) }

/** What goes as the group's name with a message: also which of a node's replicas it is from, and for. */
export function addressOf (group: string, from: MemberId, to: MemberId): string {
  return tagOf(from) === '' && tagOf(to) === '' ? group : `${group} ${tagOf(from)} ${tagOf(to)}`
}

export function parseAddress (address: string, from: NodeId, to: NodeId): { group: string, from: MemberId, to: MemberId } {
  const [group = '', fromTag = '', toTag = ''] = address.split(' ')
  return { group, from: from + fromTag, to: to + toTag }
}
