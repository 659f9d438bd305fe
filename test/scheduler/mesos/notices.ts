import type { MasterNotice } from '../../../scheduler/mesos/client.ts'
import type { SchedulerEvent } from '../../../scheduler/mesos/types.ts'

/** What a client told, and how to wait for it. */
export class Notices {
  readonly all: MasterNotice[] = []
  #wake: () => void = () => {}

  readonly push = (notice: MasterNotice): void => {
    this.all.push(notice)
    this.#wake()
  }

  async until<T extends MasterNotice> (test: (notice: MasterNotice) => notice is T): Promise<T> {
    for (;;) {
      const found = this.all.find(test)
      if (found !== undefined) return found
      await new Promise<void>((resolve) => { this.#wake = resolve })
    }
  }

  ofType<T extends MasterNotice['type']> (type: T): Promise<Extract<MasterNotice, { type: T }>> {
    return this.until((notice): notice is Extract<MasterNotice, { type: T }> => notice.type === type)
  }

  get events (): SchedulerEvent[] { return this.all.flatMap((notice) => notice.type === 'event' ? notice.event : []) }
}
