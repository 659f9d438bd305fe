import { expect } from 'chai'
import { Duplex } from 'node:stream'
import { httpMasterClient, type MasterNotice } from '../../../scheduler/mesos/client.ts'
import { httpPoster } from '../../../scheduler/mesos/http.ts'
import { askMaster, readAgents } from '../../../scheduler/mesos/operator-client.ts'
import { settle, SimClock } from '../../sim/clock.ts'
import { SimRandom } from '../../sim/random.ts'
import { quietLog } from '../framework/harness.ts'
import { readRecording } from './recording.ts'
import { atollInfo, replayedSocket, replayToClient } from './replayed-socket.ts'

/** More turns of the event loop than a replayed socket and its client take. */
const turnsMax = 100

/** Pauses before the next attempt: soon, or only after somebody may have mended what is wrong. */
const soonMs = 500
const lateMs = 5_000

const refused = (): Duplex => {
  const socket = new Duplex({ read () {}, write (_chunk, _encoding, done) { done() } })
  setImmediate(() => { socket.destroy(Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })) })
  return socket
}

describe('client: what it concludes from the recordings of masters', () => {
  it('05: a refusal by an ERROR event is told and tried again late; a removed id stops; the death of the master is a lost connection', async () => {
    const recording = readRecording('05')
    for (const conn of recording.subscriptions()) {
      const [first] = recording.events(conn)
      const last = (await replayToClient(recording.responses(conn))).at(-1)!
      if (first?.type !== 'ERROR') expect(last, `${conn}`).to.include({ type: 'disconnected', code: 'ATOLL_CONNECTION_LOST' })
      else if (first.error.message === 'Framework has been removed') expect(last).to.include({ type: 'stopped', code: 'ATOLL_MESOS_REMOVED' })
      else {
        expect(last, `${conn}`).to.include({ type: 'disconnected', code: 'ATOLL_MESOS_REFUSED' })
        expect((last as { message: string }).message).to.contain(first.error.message)
        expect((last as { retryInMs: number }).retryInMs).to.be.above(lateMs)
      }
    }
  })

  it('14: 401 is a matter of the credentials, 400 of the principal in FrameworkInfo; with both right there is a stream', async () => {
    const recording = readRecording('14')
    const told: string[] = []
    for (const conn of new Set(recording.lines.flatMap((line) => line.conn ?? []))) {
      const [request = ''] = recording.requests(conn)
      if (!request.startsWith('POST /api/v1/scheduler ') || !request.includes('"SUBSCRIBE"')) continue
      const [notice] = await replayToClient(recording.responses(conn))
      told.push(notice!.type === 'disconnected' ? notice!.code : notice!.type)
    }
    expect([...new Set(told)]).to.deep.equal(['ATOLL_MESOS_UNAUTHENTICATED', 'ATOLL_MESOS_REFUSED', 'subscribed'])
  })

  it('16: the redirect is followed to the leader, also when it is dead, until another one leads', async () => {
    const recording = readRecording('16')
    const clock = new SimClock()
    const notices: MasterNotice[] = []
    const connects: number[] = []
    /** What each port answers to a SUBSCRIBE: a recorded connection; null refuses. */
    let answers: Record<number, number | null> = { 5050: 10, 5060: 2, 5070: 2 }
    const client = httpMasterClient({
      clock, random: new SimRandom(1), log: quietLog,
      post: httpPoster({ connect: (url) => {
        const port = Number(new URL(url).port)
        connects.push(port)
        const conn = answers[port]!
        return conn === null ? refused() : replayedSocket(recording.responses(conn))
      } })
    })({ masters: ['127.0.0.1:5060', '127.0.0.1:5070', '127.0.0.1:5050'], subscribe: () => ({ framework_info: atollInfo }), onNotice: (notice) => { notices.push(notice) } })
    const subscribed = (): string[] => notices.flatMap((notice) => notice.type === 'subscribed' ? new URL(notice.url).port : [])
    const passes = async (condition: () => boolean): Promise<void> => {
      for (let turn = 1; !condition(); turn++) {
        await settle()
        if (turn % turnsMax > 0) continue
        expect(turn / turnsMax, `connected to ${connects.join()}`).to.be.below(200)
        await clock.advance(1000)
      }
    }
    client.start()
    await passes(() => notices.some(({ type }) => type === 'disconnected'))
    expect(connects.slice(0, 2)).to.deep.equal([5060, 5050])
    // The leader is dead, and the others still name it.
    answers = { 5050: null, 5060: 14, 5070: 15 }
    const before = connects.length
    await passes(() => connects.length >= before + 12)
    expect(connects.slice(before).filter((port) => port === 5050).length, 'the dead leader is asked after each redirect').to.be.above(3)
    expect(subscribed()).to.deep.equal(['5050'])
    answers = { 5050: null, 5060: 29, 5070: 31 }
    await passes(() => subscribed().length === 2)
    client.close()
    expect(subscribed()).to.deep.equal(['5050', '5060'])
    // Without a leader: 503, tried again soon.
    for (const conn of [32, 34]) {
      const [notice] = await replayToClient(recording.responses(conn))
      expect(notice).to.include({ type: 'disconnected', code: 'ATOLL_MESOS_NO_LEADER' })
      expect((notice as { retryInMs: number }).retryInMs).to.be.at.most(soonMs)
    }
  })

  it('19: an operator is told what each agent has reserved, and for whom', async () => {
    const recording = readRecording('19')
    const conn = recording.lines.find(({ bytes }) => bytes?.includes('"type":"GET_AGENTS"') === true)!.conn!
    const post = httpPoster({ connect: () => replayedSocket(recording.responses(conn)) })
    const { agents } = readAgents(await askMaster({ clock: new SimClock(), post }, 'http://m:5050/api/v1', { type: 'GET_AGENTS' }))
    expect(agents.map(({ hostname, resources }) => [hostname, resources.filter(({ reservations }) => reservations !== undefined).map(({ name, reservations, disk }) =>
      [name, reservations!.at(-1)!.labels!.labels[0]!.value, disk?.persistence?.id])])).to.deep.equal([
      ['127.0.0.1', []],
      ['127.0.0.1', [['cpus', 'replica-1', undefined], ['mem', 'replica-1', undefined], ['disk', 'replica-1', 'vol-replica-1']]],
      ['127.0.0.1', []]
    ])
  })
})
