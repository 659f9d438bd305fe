import { sharedLevels } from '../../partitioning/domain-paths.ts'
import type { ClusterMap, MembersChange, MetadataPartition, NodeId, NodeInfo, VolumeInfo } from '../../partitioning/types.ts'
import { AtollError } from '../protocol/errors.ts'
import { evenSignature, stays, type BalanceInput } from './balancer.ts'
import { managersWanted, memberChangesMax, membersLargeVolume, membersWanted, replicasWithLargeGroups } from './bounds.ts'
import type { ManagerState } from './manager-state.ts'
import type { MapChange } from './map-change.ts'

/** The manager's Raft group, as its members call it. */
export const managerGroupId = 'manager'
/** Under which the spread of groups is noted, beside the volumes (whose ids begin with 1). */
export const membersEvenKey = 0

interface Group { id: string, members: NodeId[], change: MembersChange | undefined, wanted: number }

/**
 * Who shall be members of the Raft groups: nobody who is being emptied or gone, as many as wanted, and after a change
 * of the nodes spread evenly. The group's own leader carries it out and says when it is done (fsnode/server/members-pursuer.ts).
 * null: nothing to do.
 */
export function nextMembers (input: BalanceInput): Omit<MapChange, 'base'> | null {
  const { state } = input
  if (state.map.volumes.length === 0) return null
  const groups = groupsOf(state.map)
  const signature = membersSignature(input)
  const spread = new Spread(input, groups)
  const changes: Array<[Group, NodeId[]]> = []
  for (const group of groups) {
    if (changes.length + groups.filter(({ change }) => change !== undefined).length >= memberChangesMax && group.change === undefined) continue
    const target = spread.target(group)
    if (target !== null) changes.push([group, target])
  }
  const isIdle = changes.length === 0 && groups.every(({ change }) => change === undefined)
  if (isIdle && state.settings.automatic && state.even(membersEvenKey) !== signature) {
    const move = spread.evener()
    if (move === null) return { even: [[membersEvenKey, signature]] }
    changes.push(move)
  }
  return changes.length === 0 ? null : withTargets(state.map, changes)
}

/** Metadata partitions of a volume that shall get other members and do not have them yet: how many. */
export function membersPending (input: BalanceInput, volume: VolumeInfo): number {
  const { map } = input.state
  const groups = groupsOf(map)
  const own = new Set(map.metadata.filter((partition) => partition.volume === volume.id).map(({ id }) => id))
  const spread = new Spread(input, groups)
  return groups.filter((group) => own.has(group.id) && (group.change !== undefined || spread.target(group) !== null)).length
}

/** Equal while the same nodes may be members. */
export function membersSignature (input: Pick<BalanceInput, 'state' | 'facts' | 'nowMs'>): string {
  return evenSignature(input, { placement: 'hawaii', replicas: 0 })
}

/** An operator's move of one member. @throws AtollError ATOLL_NO_SUCH_PARTITION, ATOLL_BAD_ARGUMENT, ATOLL_PLAN_CONFLICT. */
export function moveMember ({ map }: ManagerState, id: string, from: NodeId, to: NodeId): MapChange {
  const group = groupsOf(map).find((candidate) => candidate.id === id)
  if (group === undefined) throw new AtollError('ATOLL_NO_SUCH_PARTITION', `there is no partition ${id}`, { hint: 'those that exist: atoll partition list' })
  if (group.change !== undefined) throw new AtollError('ATOLL_PLAN_CONFLICT', `the members of ${id} are being changed already`)
  const where = `${id} is on ${group.members.join(', ')}`
  if (!group.members.includes(from)) throw new AtollError('ATOLL_BAD_ARGUMENT', `${where}, not on ${String(from)}`)
  if (group.members.includes(to)) throw new AtollError('ATOLL_BAD_ARGUMENT', `${where}: it has a member on ${to} already`)
  return { base: map.version, ...withTargets(map, [[group, group.members.map((member) => member === from ? to : member)]]) }
}

/** The group's leader says that its members are those of the target. null: it says nothing new. */
export function membersChanged ({ map }: ManagerState, { group: id, revision, members }: { group: string, revision: number, members: NodeId[] }): MapChange | null {
  const group = groupsOf(map).find((candidate) => candidate.id === id)
  if (group?.change?.revision !== revision || !sameMembers(group.change.target, members)) return null
  const { target } = group.change
  if (id === managerGroupId) return { base: map.version, managers: { members: target } }
  const { change: _, ...partition } = map.metadata.find((candidate) => candidate.id === id)!
  return { base: map.version, metadata: [{ ...partition, members: target }] }
}

function groupsOf ({ managers, managersChange, metadata, volumes }: ClusterMap): Group[] {
  const sizes = new Map(volumes.map(({ id, replicas }) => [id, replicas >= replicasWithLargeGroups ? membersLargeVolume : membersWanted]))
  return [
    { id: managerGroupId, members: managers, change: managersChange, wanted: managersWanted },
    ...metadata.map(({ id, members, change, volume }) => ({ id, members, change, wanted: sizes.get(volume) ?? membersWanted }))
  ]
}

function withTargets (map: ClusterMap, changes: ReadonlyArray<[Group, NodeId[]]>): Omit<MapChange, 'base'> {
  const next: Omit<MapChange, 'base'> & { metadata: MetadataPartition[] } = { metadata: [] }
  for (const [{ id, members, change }, target] of changes) {
    // Whoever was to be a member may already be one.
    const hosts = [...new Set([...members, ...change?.hosts ?? [], ...target])]
    const changed: MembersChange = { revision: map.version, target, hosts }
    if (id === managerGroupId) next.managers = { members, change: changed }
    else next.metadata.push({ ...map.metadata.find((candidate) => candidate.id === id)!, change: changed })
  }
  return next
}

export function sameMembers (one: readonly NodeId[], other: readonly NodeId[]): boolean {
  return one.length === other.length && one.every((node) => other.includes(node))
}

/** How groups are spread over nodes, counting what is being changed. */
class Spread {
  private readonly groups: readonly Group[]
  private readonly nodes: ReadonlyMap<NodeId, NodeInfo>
  private readonly eligible: NodeInfo[]
  private readonly staying: ReadonlySet<NodeId>
  private readonly grows: boolean
  private readonly held = new Map<NodeId, number>()

  constructor (input: BalanceInput, groups: readonly Group[]) {
    const { map, settings } = input.state
    this.groups = groups
    this.nodes = new Map(map.nodes.map((node) => [node.id, node]))
    const staying = map.nodes.filter((node) => stays(input, node))
    this.staying = new Set(staying.map(({ id }) => id))
    this.eligible = staying.filter(({ state }) => state === 'up')
    this.grows = settings.automatic
    for (const { members, change } of groups) this.count(change?.target ?? members, 1)
  }

  /** Who shall be members; null: as it is, or as it is being made. */
  target ({ members, change, wanted }: Group): NodeId[] | null {
    const present = change?.target ?? members
    // Odd sizes only: an even one survives no more.
    const size = Math.max(members.length, this.grows ? [wanted, 3].find((count) => count <= wanted && count <= this.eligible.length) ?? 1 : 1)
    if (present.length >= size && present.every((node) => this.staying.has(node))) return null
    const target = present.filter((node) => this.staying.has(node))
    while (target.length < size) {
      const best = this.best(target, (node) => !present.includes(node))
      if (best === undefined) break
      target.push(best)
    }
    // Without somebody to take its place, a member stays: fewer members survive less. Those that answer first.
    const leaving = present.filter((node) => !target.includes(node)).sort((one, other) => Number(this.nodes.get(other)?.state !== 'down') - Number(this.nodes.get(one)?.state !== 'down'))
    while (target.length < members.length && leaving.length > 0) target.push(leaving.shift()!)
    if (target.length % 2 === 0 && target.length > members.length) target.pop()
    if (sameMembers(target, present)) return null
    this.count(present, -1)
    this.count(target, 1)
    return target
  }

  /** One member that goes from a node with many to one with few; null: they are even. */
  evener (): [Group, NodeId[]] | null {
    const byHeld = [...this.eligible].sort((one, other) => this.of(other.id) - this.of(one.id) || (one.id < other.id ? -1 : 1))
    for (const { id: from } of byHeld) {
      for (const { id: to } of [...byHeld].reverse()) {
        if (this.of(from) - this.of(to) < 2) break
        const group = this.groups.find(({ members }) => {
          if (!members.includes(from) || members.includes(to)) return false
          const others = members.filter((member) => member !== from)
          return this.crowding(to, others) <= this.crowding(from, others)
        })
        if (group !== undefined) return [group, group.members.map((member) => member === from ? to : member)]
      }
    }
    return null
  }

  private best (members: readonly NodeId[], match: (node: NodeId) => boolean): NodeId | undefined {
    const candidates = this.eligible.filter(({ id }) => match(id) && !members.includes(id))
    const cost = (id: NodeId): [number, number] => [this.crowding(id, members), this.of(id)]
    candidates.sort((one, other) => {
      const [first, second] = [cost(one.id), cost(other.id)]
      return first[0] - second[0] || first[1] - second[1] || (one.id < other.id ? -1 : 1)
    })
    return candidates[0]?.id
  }

  /** How much of its fault domains the node shares with others. */
  private crowding (node: NodeId, others: readonly NodeId[]): number {
    const domain = this.nodes.get(node)?.domain ?? []
    return others.reduce((sum, other) => sum + sharedLevels(domain, this.nodes.get(other)?.domain ?? []), 0)
  }

  private of (node: NodeId): number { return this.held.get(node) ?? 0 }

  private count (members: readonly NodeId[], by: number): void {
    for (const node of members) this.held.set(node, this.of(node) + by)
  }
}
