import type { MembersChange, NodeId } from '../../partitioning/types.ts'
import { AtollError, codeOf, messageOf } from '../protocol/errors.ts'
import type { Clock, Logger } from '../protocol/ports.ts'
import type { ClusterRouter } from '../protocol/router.ts'
import { nodeOfMember, type MemberId } from '../raft/member-id.ts'
import type { RaftGroup } from '../raft/types.ts'

export const pursueRetryMs = 500
export const reportPatienceMs = 5_000

/**
 * Makes the members of a Raft group those that the manager wants, one at a time, while this replica leads. Whoever leads
 * next goes on: the map says what is wanted, the group itself what is.
 */
export class MembersPursuer {
  private readonly components: { clock: Clock, log: Logger, router: ClusterRouter }
  private readonly group: RaftGroup
  private change: MembersChange | undefined
  private readonly stopListening: () => void
  private running = false
  private closed = false

  constructor (components: { clock: Clock, log: Logger, router: ClusterRouter }, group: RaftGroup) {
    this.components = components
    this.group = group
    this.stopListening = group.onStatus(() => { void this.run() })
  }

  adopt (change: MembersChange | undefined): void {
    this.change = change
    void this.run()
  }

  close (): void {
    this.closed = true
    this.stopListening()
  }

  private async run (): Promise<void> {
    if (this.running) return
    this.running = true
    while (!this.closed && this.change !== undefined && this.group.status.role === 'leader') {
      try {
        await this.step(this.change)
      } catch (error) {
        this.components.log.info('the change of members will go on', { group: this.group.id, code: codeOf(error), cause: messageOf(error) })
      }
      await new Promise<void>((resolve) => { this.components.clock.setTimer(resolve, pursueRetryMs) })
    }
    this.running = false
  }

  /** Rejects with ATOLL_UNAVAILABLE while the node has not opened its replica. */
  private async memberOn (node: NodeId): Promise<MemberId> {
    const { body } = await this.components.router.toNode(node, 'node.raft-member', { group: this.group.id })
    if (body.member === null) throw new AtollError('ATOLL_UNAVAILABLE', `node ${node} has not opened its replica of ${this.group.id}`)
    return body.member
  }

  private async step ({ revision, target }: MembersChange): Promise<void> {
    const { group, components: { log, router } } = this
    // Then every change of members that is in the log is committed.
    await group.readBarrier()
    const ids = group.memberIds
    const members = ids.map(nodeOfMember)
    const next = nextMembers(members, target)
    if (next === null) {
      const { body } = await router.toManager('manager.members-changed', { group: group.id, revision, members }, { patienceMs: reportPatienceMs })
      if (body.map !== undefined) router.adopt(body.map)
      return
    }
    const staying = next.find((member) => target.includes(member) && member !== group.status.leader)
    if (!next.includes(group.status.leader!)) {
      log.info('hands over before it leaves', { group: group.id, to: staying })
      await group.transferLeadership(staying)
      return
    }
    const added = next.find((node) => !members.includes(node))
    const stay = ids.filter((id) => next.includes(nodeOfMember(id)))
    log.info('changes members', { group: group.id, members, next })
    await group.changeMembers(added === undefined ? stay : [...stay, await this.memberOn(added)])
  }
}

/** What is missing comes first: the group never has fewer members than before or after. null: nothing to do. */
export function nextMembers (members: readonly NodeId[], target: readonly NodeId[]): NodeId[] | null {
  const added = target.find((node) => !members.includes(node))
  if (added !== undefined) return [...members, added]
  const removed = members.find((node) => !target.includes(node))
  return removed === undefined ? null : members.filter((node) => node !== removed)
}
