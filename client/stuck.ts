import { AtollError } from '../fsnode/protocol/errors.ts'
import type { Clock } from '../fsnode/protocol/ports.ts'
import { outageMsMax } from '../fsnode/protocol/router.ts'

/**
 * For who waits until what is in the journal has got to the nodes: it is sent again and again, as long as the session lasts. Rejects with ATOLL_TIMEOUT (EIO in a mount) when
 * nothing has got there for `outageMsMax`; `work` goes on.
 * @param done How much has got there so far.
 */
export function unlessStuck<T> (clock: Clock, work: Promise<T>, done: () => number): Promise<T> {
  return new Promise((resolve, reject) => {
    let before = done()
    const look = (): void => {
      if (done() === before) {
        reject(new AtollError('ATOLL_TIMEOUT', `the nodes have not answered for ${outageMsMax / 1000} s; what was written is kept, and gets to them when they do`))
        return
      }
      before = done()
      timer = clock.setTimer(look, outageMsMax)
    }
    let timer = clock.setTimer(look, outageMsMax)
    work.then(resolve, reject).finally(() => { timer.cancel() })
  })
}
