import type { CallBody } from '../mesos/types.ts'
import { uninstallQuietMs } from './constants.ts'
import type { StepContext } from './nodes.ts'

/** The end of a framework: when no task and no reservation is left for a while, it is torn down. */
export class Uninstall {
  /** Since when nothing is left as far as we know. */
  #quietSinceMs: number | null = null
  #tornDown = false
  /** What the master still lists; null: it was not asked, or does not say. */
  #listed: Set<string> | null = null

  /** Resource ids that the master lists as reserved for this cluster; null: it was not asked, or does not say. */
  get listed (): string[] | null { return this.#listed === null ? null : [...this.#listed] }

  get isTornDown (): boolean { return this.#tornDown }

  /** The offers of all agents have to be seen first. */
  subscribed (nowMs: number): void {
    this.#quietSinceMs = nowMs
    this.#tornDown = false
  }

  get deadlineMs (): number { return this.#quietSinceMs === null || this.#tornDown ? Infinity : this.#quietSinceMs + uninstallQuietMs }

  /** The master's own word on what is reserved: what is not there any more has been freed. */
  reserved ({ state }: StepContext, resourceIds: Set<string>): void {
    this.#listed = resourceIds
    for (const id of [...state.garbage.keys()]) if (state.garbageFreedMs.has(id) && !resourceIds.has(id)) state.deleteGarbage(id)
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
      // An UNRESERVE whose outcome nobody told: it is not offered any more, so it is done.
      for (const [id, freedMs] of [...state.garbageFreedMs]) if (nowMs >= freedMs + 2 * uninstallQuietMs) state.deleteGarbage(id)
      if (state.nodes.size > 0 || state.garbage.size > 0 || (this.#listed !== null && this.#listed.size > 0)) {
        this.#quietSinceMs = nowMs
        return []
      }
      if (nowMs < this.#quietSinceMs + uninstallQuietMs) return []
      framework.goal = 'uninstalled'
      state.saveFramework()
    }
    this.#tornDown = true
    return [{ type: 'TEARDOWN' }]
  }
}
