import { AtollError } from '../../../fsnode/protocol/errors.ts'
import type { StateHead, StateStore } from '../../../scheduler/standby/state-store.ts'

/** What all schedulers can reach, in memory. */
export class SharedState {
  head: StateHead | null = null
  state: Buffer | null = null
  unreachable = false
  writes = 0
  /** The place is there, or can be made. */
  isThere = false

  store (): StateStore {
    const check = (): void => { if (this.unreachable) throw new AtollError('ATOLL_UNREACHABLE', 'cut') }
    const needed = (): void => { if (!this.isThere) throw new AtollError('ATOLL_NO_SUCH_VOLUME', 'no place') }
    return {
      prepare: async () => { check(); this.isThere = true },
      readHead: async () => { check(); return this.head },
      readState: async () => { check(); return this.head === null ? null : { head: this.head, state: this.state! } },
      writeState: async (head, state) => { check(); needed(); this.writes++; this.head = head; this.state = state },
      writeHead: async (head) => { check(); needed(); this.head = head },
      close: () => {}
    }
  }
}
