import { Duplex } from 'node:stream'
import { httpMasterClient } from '../../../scheduler/mesos/client.ts'
import type { MasterNotice } from '../../../scheduler/mesos/client.ts'
import { httpPoster } from '../../../scheduler/mesos/http.ts'
import type { FrameworkInfo } from '../../../scheduler/mesos/types.ts'
import { SimClock } from '../../sim/clock.ts'
import { SimRandom } from '../../sim/random.ts'
import { quietLog } from '../framework/harness.ts'

/** A connection that answers whatever is asked with the given pieces, then ends. */
export function replayedSocket (pieces: Iterable<Buffer>, onRequest: (text: string) => void = () => {}): Duplex {
  let answered = false
  return new Duplex({
    read () {},
    write (chunk: Buffer, _encoding, done) {
      onRequest(chunk.toString())
      done()
      if (answered) return
      answered = true
      setImmediate(() => {
        for (const piece of pieces) this.push(piece)
        this.push(null)
      })
    }
  })
}

export const atollInfo: FrameworkInfo = { user: 'root', name: 'atoll', roles: ['atoll'], principal: 'atoll' }

/** All that the real client, HTTP parser included, tells about one answer, until it would try again or has stopped. */
export function replayToClient (pieces: Iterable<Buffer>): Promise<MasterNotice[]> {
  return new Promise((resolve) => {
    const notices: MasterNotice[] = []
    const client = httpMasterClient({
      clock: new SimClock(),
      random: new SimRandom(1),
      log: quietLog,
      post: httpPoster({ connect: () => replayedSocket(pieces) })
    })({
      masters: ['master:5050'],
      subscribe: () => ({ framework_info: atollInfo }),
      onNotice: (notice) => {
        notices.push(notice)
        if (notice.type !== 'disconnected' && notice.type !== 'stopped') return
        resolve([...notices])
        client.close()
      }
    })
    client.start()
  })
}

export function cut (bytes: Buffer, ...positions: number[]): Buffer[] {
  const edges = [0, ...positions, bytes.length]
  return edges.slice(1).map((edge, index) => bytes.subarray(edges[index], edge)).filter(({ length }) => length > 0)
}

export function * bytewise (bytes: Buffer, size = 1): Generator<Buffer> {
  for (let offset = 0; offset < bytes.length; offset += size) yield bytes.subarray(offset, offset + size)
}
