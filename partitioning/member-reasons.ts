import { sharedLevels } from './domain-paths.ts'
import type { ClusterMap, MembersChange, NodeId, NodeInfo } from './types.ts'

/** The members of a Raft group, as the map has them. */
export interface GroupMembers { members: readonly NodeId[], change?: MembersChange }

export interface MemberReason {
  node: NodeId
  /** 'joining', 'leaving': the members are being changed. */
  role: 'leader' | 'member' | 'joining' | 'leaving' | 'none'
  domain: string[]
  /** Levels of its domain that it shares with the members (of a node outside: with those left when the nearest one goes), added up; fewer is better. */
  shared: number
  /** Groups that it is, or is to become, a member of; the manager's counts. */
  groups: number
  /** How many each node that takes members would have if all were even. */
  groupShare: number
  /** For people. */
  why: string
}

/** Members as they shall be. */
const wanted = ({ members, change }: GroupMembers): readonly NodeId[] => change?.target ?? members

/** Why a Raft group (a metadata partition's, the manager's) is where it is: one entry per node, its members first. */
export function explainMembers (map: Pick<ClusterMap, 'nodes' | 'managers' | 'managersChange' | 'metadata'>, group: GroupMembers, leader: NodeId | null): MemberReason[] {
  return new Explanation(map, group, leader).reasons()
}

class Explanation {
  private readonly nodes: readonly NodeInfo[]
  private readonly group: GroupMembers
  private readonly leader: NodeId | null
  private readonly target: readonly NodeId[]
  private readonly held = new Map<NodeId, number>()
  private readonly share: number

  constructor ({ nodes, managers, managersChange, metadata }: Parameters<typeof explainMembers>[0], group: GroupMembers, leader: NodeId | null) {
    this.nodes = nodes
    this.group = group
    this.leader = leader
    this.target = wanted(group)
    const seats = [...metadata, { members: managers, change: managersChange }].flatMap((one) => wanted(one))
    for (const node of seats) this.held.set(node, this.heldBy(node) + 1)
    this.share = seats.length / Math.max(1, nodes.filter(({ state }) => state === 'up').length)
  }

  reasons (): MemberReason[] {
    const order: Array<MemberReason['role']> = ['leader', 'member', 'joining', 'leaving', 'none']
    return this.nodes.map((node) => this.reason(node)).sort((one, other) => order.indexOf(one.role) - order.indexOf(other.role))
  }

  private reason (node: NodeInfo): MemberReason {
    const role = this.roleOf(node.id)
    const isWanted = this.target.includes(node.id)
    return {
      node: node.id, role, domain: node.domain, groups: this.heldBy(node.id), groupShare: this.share,
      shared: isWanted ? this.shared(node, this.target) : Math.min(...this.target.map((member) => this.sharedInPlaceOf(node, member))),
      why: isWanted ? this.whyMember(node) : this.whyNot(node)
    }
  }

  private roleOf (id: NodeId): MemberReason['role'] {
    const [is, shallBe] = [this.group.members.includes(id), this.target.includes(id)]
    if (is && !shallBe) return 'leaving'
    if (!is) return shallBe ? 'joining' : 'none'
    return id === this.leader ? 'leader' : 'member'
  }

  private whyMember (node: NodeInfo): string {
    const state = node.state === 'up' ? '' : `is ${stateText(node)}, but keeps its place until another has it; `
    const near = this.nearest(node)
    if (near === null) return `${state}shares no domain with another member`
    const better = this.nodes.find((other) => !this.target.includes(other.id) && other.state === 'up' && this.sharedInPlaceOf(other, node.id) < this.shared(node, this.target))
    return `${state}is in ${near.path} like ${near.id}; ${better === undefined ? 'no other node that is up would share less' : `${better.id} would share less, but only a member that goes is replaced`}`
  }

  private whyNot (node: NodeInfo): string {
    if (node.state !== 'up') return `takes no members: it is ${stateText(node)}`
    const members = this.nodes.filter(({ id }) => this.target.includes(id))
    // There is one: the nearest member shares with each other one at least what this node does.
    const fitting = members.filter((member) => this.sharedInPlaceOf(node, member.id) <= this.shared(member, this.target)).map(({ id }) => id)
    const mine = this.heldBy(node.id)
    const most = Math.max(...fitting.map((id) => this.heldBy(id)))
    return most - mine >= 2
      ? `takes the place of ${fitting.find((id) => this.heldBy(id) === most)} when groups are evened out: it is in ${mine}, that one in ${most}`
      : `could take the place of ${fitting.join(' or ')}, which would even nothing out: it is in ${mine}, none of those in more than ${most}`
  }

  /** The member with which the node shares most levels, and the domain that they share; null: none. */
  private nearest (node: NodeInfo): { id: NodeId, path: string } | null {
    const others = this.nodes.filter(({ id }) => id !== node.id && this.target.includes(id)).map(({ id, domain }) => ({ id, levels: sharedLevels(node.domain, domain) }))
    const near = others.reduce<{ id: NodeId, levels: number } | null>((most, other) => other.levels > (most?.levels ?? 0) ? other : most, null)
    return near === null ? null : { id: near.id, path: node.domain.slice(0, near.levels).join('/') }
  }

  private sharedInPlaceOf (node: NodeInfo, member: NodeId): number { return this.shared(node, this.target.filter((id) => id !== member)) }

  private shared ({ id, domain }: NodeInfo, members: readonly NodeId[]): number {
    return this.nodes.reduce((sum, other) => other.id !== id && members.includes(other.id) ? sum + sharedLevels(domain, other.domain) : sum, 0)
  }

  private heldBy (node: NodeId): number { return this.held.get(node) ?? 0 }
}

function stateText ({ state }: NodeInfo): string { return state === 'draining' ? 'being emptied' : state }
