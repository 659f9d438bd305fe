import type { Cluster } from '../../client/connect.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { explainMembers, type GroupMembers, type MemberReason } from '../../partitioning/member-reasons.ts'
import type { NodeId } from '../../partitioning/types.ts'
import { print, printJson, printTable } from '../output.ts'

export interface GroupReport {
  partition: string
  kind: 'metadata' | 'manager'
  /** null: the manager is of no volume. */
  volume: string | null
  /** null: none is known now. */
  leader: NodeId | null
  term: number | null
  members: NodeId[]
  /** Who shall be members; left out: who is. */
  target?: NodeId[]
  nodes: MemberReason[]
}

/** Partitions that are Raft groups, and the manager. */
export const groupPattern = /^(manager|\d+\.m\.\d+)$/

const managerId = 'manager'
/** A member that does not answer keeps nobody waiting. */
const memberTimeoutMs = 1_000

/** Rejects with ATOLL_NO_SUCH_PARTITION. */
export async function explainGroup ({ map, router }: Cluster, id: string): Promise<GroupReport> {
  const partition = map.metadata.find((candidate) => candidate.id === id)
  const group: GroupMembers | undefined = id === managerId ? { members: map.managers, change: map.managersChange } : partition
  if (group === undefined) throw new AtollError('ATOLL_NO_SUCH_PARTITION', `there is no partition ${id}`, { hint: 'those that exist: atoll partition list' })
  const leads = await leaderOf(router, id, group.members)
  return {
    partition: id,
    kind: id === managerId ? 'manager' : 'metadata',
    volume: partition === undefined ? null : map.volumes.find((volume) => volume.id === partition.volume)?.name ?? String(partition.volume),
    leader: leads?.node ?? null,
    term: leads?.term ?? null,
    members: [...group.members],
    ...(group.change !== undefined && { target: group.change.target }),
    nodes: explainMembers(map, group, leads?.node ?? null)
  }
}

/** Of those who say that they lead, the one of the latest term: another may not know yet that it does no more. */
async function leaderOf (router: Cluster['router'], id: string, members: readonly NodeId[]): Promise<{ node: NodeId, term: number } | null> {
  const claims = await Promise.all(members.map(async (node) => {
    const answer = await router.toNode(node, 'node.status', {}, { timeoutMs: memberTimeoutMs }).catch(() => null)
    const leads = answer?.body.groups.find((group) => group.id === id && group.role === 'leader')
    return leads === undefined ? null : { node, term: leads.term }
  }))
  return claims.reduce((best, claim) => claim !== null && claim.term > (best?.term ?? -1) ? claim : best, null)
}

export function showGroup (report: GroupReport, { json }: { json?: boolean }): void {
  if (json === true) {
    printJson(report)
    return
  }
  const { partition, volume, leader, term, members, target, nodes } = report
  print(`${volume === null ? partition : `metadata partition ${partition} of volume ${volume}`}: a Raft group of ${members.length}, led by ${leader === null ? 'nobody known' : `${leader} in term ${term}`}`)
  print(target === undefined ? `members: ${members.join(', ')}` : `members: ${members.join(', ')}, on their way to ${target.join(', ')}`)
  print('members share as few domains as they can, then nodes are in equally many groups; the members elect who leads')
  print()
  printTable(['NODE', 'ROLE', 'DOMAIN', 'SHARED', 'GROUPS', 'SHARE', 'WHY'], nodes.map((node) => [node.node, node.role, node.domain.join('/') || '-', node.shared, node.groups, node.groupShare.toFixed(2), node.why]))
}
