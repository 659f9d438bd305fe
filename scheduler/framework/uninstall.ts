import type { CallBody } from '../mesos/types.ts'
import { garbageSearchMs, uninstallProofs, uninstallQuietMs } from './constants.ts'
import type { StepContext } from './nodes.ts'

/** The end of a framework: when no task and no reservation is left for a while, it is torn down. */
export class Uninstall {
  /** Since when all offers come to us. */
  #searchingSinceMs: number | null = null
  /** Since when nothing is left as far as we know. */
  #quietSinceMs: number | null = null
  #tornDown = false
  /** What the master still lists; null: it was not asked, or does not say. */
  #listed: Set<string> | null = null
  #subscribedMs = 0
  /** How often in a row the master has said that nothing is left, while nothing was left as far as we know. */
  #proofs = 0

  /** Resource ids that the master lists as reserved for this cluster; null: it was not asked, or does not say. */
  get listed (): string[] | null { return this.#listed === null ? null : [...this.#listed] }

  get isTornDown (): boolean { return this.#tornDown }

  /** The offers of all agents have to be seen first. */
  subscribed (nowMs: number): void {
    this.#quietSinceMs = nowMs
    this.#subscribedMs = nowMs
    this.#searchingSinceMs = null
    this.#tornDown = false
    this.#proofs = 0
  }

  get deadlineMs (): number { return this.#quietSinceMs === null || this.#tornDown ? Infinity : this.#quietSinceMs + uninstallQuietMs }

  /** The master's own word on what is reserved on the agents that it reaches: what is not there has been freed, or never was reserved. */
  reserved ({ state, nowMs }: StepContext, { resourceIds, agentIds }: { resourceIds: string[], agentIds: string[] }): void {
    this.#listed = new Set(resourceIds)
    // Agents return to a new master one by one.
    const isComplete = nowMs >= this.#subscribedMs + uninstallQuietMs
    this.#proofs = isComplete && this.#listed.size === 0 && state.nodes.size === 0 && state.garbage.size === 0 ? this.#proofs + 1 : 0
    for (const { resourceId, agentId } of [...state.garbage.values()]) {
      const isSeen = agentId !== null && agentIds.includes(agentId)
      if ((isSeen || state.garbageFreedMs.has(resourceId)) && !this.#listed.has(resourceId)) state.deleteGarbage(resourceId)
    }
  }

  settle ({ state, nowMs }: StepContext): CallBody[] {
    const { framework } = state
    if (framework.goal !== 'uninstalling' && framework.goal !== 'uninstalled') {
      this.#quietSinceMs = null
      return []
    }
    this.#quietSinceMs ??= nowMs
    if (this.#tornDown) return []
    if (framework.goal === 'uninstalling') {
      this.#searchingSinceMs ??= nowMs
      const isSearchOver = nowMs >= this.#searchingSinceMs + garbageSearchMs
      for (const id of [...state.garbage.keys()]) {
        const freedMs = state.garbageFreedMs.get(id)
        // An UNRESERVE whose outcome nobody told: it is not offered any more, so it is done. What was never offered in all
        // that time was never reserved.
        if (freedMs === undefined ? isSearchOver : nowMs >= freedMs + 2 * uninstallQuietMs) state.deleteGarbage(id)
      }
      if (state.nodes.size > 0 || state.garbage.size > 0 || (this.#listed !== null && this.#listed.size > 0)) {
        this.#quietSinceMs = nowMs
        this.#proofs = 0
        return []
      }
      if (this.#proofs < uninstallProofs && nowMs < this.#quietSinceMs + uninstallQuietMs) return []
      framework.goal = 'uninstalled'
      state.saveFramework()
    }
    this.#tornDown = true
    return [{ type: 'TEARDOWN' }]
  }
}
