import { expect } from 'chai'
import type { MasterNotice } from '../../../scheduler/mesos/client.ts'
import { RecordDecoder } from '../../../scheduler/mesos/recordio.ts'
import { errorEventCode, statusCode } from '../../../scheduler/mesos/session.ts'
import type { SchedulerEvent } from '../../../scheduler/mesos/types.ts'
import { SimRandom } from '../../sim/random.ts'
import { bodyOf, readRecording, recordingNames, recordsOf } from './recording.ts'
import { bytewise, cut, replayToClient } from './replayed-socket.ts'

/** Streams up to here are cut in two at every byte. Longer ones are cut into pieces of `combBytes`, so often that every byte is the edge of a piece once. */
const splitsAll = 500
const combBytes = 128

/** What a client must tell about a stream that was read naively. */
function expectedNotices (events: SchedulerEvent[]): string[] {
  const told: string[] = []
  for (const event of events) {
    if (event.type === 'SUBSCRIBED') told.push(`subscribed ${event.subscribed.framework_id.value}`)
    else if (event.type === 'ERROR') return [...told, errorEventCode(event.error.message) === 'ATOLL_MESOS_REFUSED' ? 'disconnected ATOLL_MESOS_REFUSED' : `stopped ${errorEventCode(event.error.message)}`]
    else if (event.type !== 'HEARTBEAT') told.push(JSON.stringify(event))
  }
  return [...told, 'disconnected ATOLL_CONNECTION_LOST']
}

const tell = (notices: MasterNotice[]): string[] => notices.map((notice) => {
  switch (notice.type) {
    case 'subscribed': return `subscribed ${notice.frameworkId}`
    case 'event': return JSON.stringify(notice.event)
    case 'disconnected':
    case 'stopped': return `${notice.type} ${notice.code}`
    default: return notice.type
  }
})

/** Where to cut a stream, each time: every position once. */
function cutsOf (length: number): number[][] {
  if (length <= splitsAll) return Array.from({ length: length - 1 }, (_, index) => [index + 1])
  return Array.from({ length: combBytes }, (_, phase) => Array.from({ length: Math.ceil((length - phase - 1) / combBytes) }, (_, tooth) => phase + 1 + tooth * combBytes))
}

describe('client: every recorded answer of a real master, however it is cut', function () {
  this.timeout(60_000)
  const random = new SimRandom(3)

  for (const name of recordingNames) {
    const recording = readRecording(name)
    const connections = recording.subscriptions()

    it(`${name}: ${connections.length} subscriptions, split at every byte, and byte by byte`, async () => {
      for (const connection of connections) {
        const bytes = Buffer.concat(recording.responses(connection))
        const expected = expectedNotices(recording.events(connection))
        const check = async (pieces: Iterable<Buffer>, how: string): Promise<void> => {
          const told = tell(await replayToClient(pieces))
          if (told.join('\n') !== expected.join('\n')) expect(told, `${how} of connection ${connection}`).to.deep.equal(expected)
        }
        await check(recording.responses(connection), 'as it came')
        await check(bytewise(bytes), 'byte by byte')
        await check(bytewise(bytes, 7), 'in pieces of 7 bytes')
        for (const positions of cutsOf(bytes.length)) await check(cut(bytes, ...positions), `split at ${positions[0]} and so on`)
        const two = [random.below(bytes.length), random.below(bytes.length)].sort((a, b) => a - b)
        await check(cut(bytes, ...two), `split at ${two.join(' and ')}`)
      }
    })
  }

  it('every record of every stream is the same at every split of its bytes', () => {
    let splits = 0
    for (const name of recordingNames) {
      const recording = readRecording(name)
      for (const connection of recording.subscriptions()) {
        const body = bodyOf(recording.responses(connection))
        // At the end of a record the decoder is as new: each record is split on its own.
        const decoder = new RecordDecoder()
        for (let offset = 0; offset < body.length;) {
          const headEnd = body.indexOf(0x0a, offset) + 1
          const end = headEnd + Number(body.toString('latin1', offset, headEnd - 1))
          const expected = body.subarray(headEnd, end)
          for (let split = offset; split <= end; split++) {
            const [early] = decoder.push(body.subarray(offset, split))
            const [late] = decoder.push(body.subarray(split, end))
            const record = early ?? late
            if (record === undefined || !expected.equals(record) || !decoder.atBoundary) expect.fail(`${name}, connection ${connection}: split at ${split}`)
            splits++
          }
          offset = end
        }
      }
    }
    expect(splits).to.be.greaterThan(400_000)
  })
})

describe('client: every recorded refusal is told apart by its status', () => {
  it('no answer other than 200 to a SUBSCRIBE ends the client, and all are tried again', async () => {
    const codes = new Map<string, number>()
    for (const name of recordingNames) {
      const recording = readRecording(name)
      for (const conn of new Set(recording.lines.flatMap((line) => line.conn ?? []))) {
        const [request = ''] = recording.requests(conn)
        const bytes = Buffer.concat(recording.responses(conn))
        const status = Number(bytes.toString('latin1', 9, 12))
        if (!/^POST \/(master\/)?api\/v1\/scheduler/.test(request) || !request.includes('"SUBSCRIBE"') || bytes.length === 0 || status === 200) continue
        const notices = await replayToClient([bytes])
        if (status === 307) {
          // Followed: to a connection that ends in the same way, until the hops are used up.
          expect(tell(notices), `${name} ${conn}`).to.deep.equal(['disconnected ATOLL_MESOS_NO_LEADER'])
        } else {
          expect(tell(notices), `${name} ${conn}`).to.deep.equal([`disconnected ${statusCode(status)}`])
        }
        codes.set(`${status}`, (codes.get(`${status}`) ?? 0) + 1)
      }
    }
    expect([...codes.keys()].sort()).to.deep.equal(['307', '400', '401', '404', '406', '415', '503'])
  })

  it('each is told with the text that the master gave, for people', async () => {
    const recording = readRecording('14')
    const [notice] = await replayToClient(recording.responses(7))
    expect(notice).to.include({ code: 'ATOLL_MESOS_REFUSED' })
    expect((notice as { message: string }).message).to.contain("Authenticated principal 'operator' does not match principal 'atoll'")
  })

  it('the naive readers of this test find what was recorded', () => {
    expect(recordingNames).to.have.length(20)
    expect(recordsOf(bodyOf(readRecording('01').responses(1))).length).to.equal(8)
  })
})
