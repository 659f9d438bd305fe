import { expect } from 'chai'
import { redirectUrl, masterUrl } from '../../../scheduler/mesos/address.ts'
import { Session, errorEventCode, statusCode } from '../../../scheduler/mesos/session.ts'
import type { HttpResponse, SessionEffect } from '../../../scheduler/mesos/session.ts'
import type { SchedulerEvent } from '../../../scheduler/mesos/types.ts'
import { SimRandom } from '../../sim/random.ts'

const subscribed: SchedulerEvent = { type: 'SUBSCRIBED', subscribed: { framework_id: { value: 'f-1' }, heartbeat_interval_seconds: 15 } }
const ok: HttpResponse = { status: 200, streamId: 's-1', body: '' }
const path = '/api/v1/scheduler'
const urlA = `http://a:5050${path}`
const urlB = `http://b:5050${path}`

const newSession = (masters = ['a', 'b']): Session => new Session({ random: new SimRandom(1) }, { masters })
const find = <T extends SessionEffect['type']>(effects: SessionEffect[], type: T): Extract<SessionEffect, { type: T }> | undefined =>
  effects.find((effect): effect is Extract<SessionEffect, { type: T }> => effect.type === type)
const connected = (effects: SessionEffect[]): string | undefined => find(effects, 'connect')?.url
const noticed = (effects: SessionEffect[]): Record<string, unknown> => ({ ...find(effects, 'notice')?.notice })

function subscribe (session: Session): void {
  session.step({ type: 'start' })
  session.step({ type: 'response', response: ok })
  session.step({ type: 'event', event: subscribed })
}

describe('the address of a master', () => {
  for (const [text, url] of [
    ['m1', `http://m1:5050${path}`],
    ['m1:80', `http://m1${path}`],
    ['127.0.0.1:5050', `http://127.0.0.1:5050${path}`],
    ['[::1]:5050', `http://[::1]:5050${path}`],
    ['http://m1:5050/', `http://m1:5050${path}`],
    ['https://m1', `https://m1${path}`],
    [`http://proxy:80/mesos${path}`, `http://proxy/mesos${path}`]
  ]) it(`'${text}' is ${url}`, () => { expect(masterUrl(text!)).to.equal(url) })

  for (const text of ['', 'http://', 'ftp://m1', 'zk://m1:2181/mesos', 'user:secret@m1', 'm1:port']) {
    it(`refuses '${text}'`, () => { expect(() => masterUrl(text)).to.throw().with.property('code', 'ATOLL_INVALID_MASTER') })
  }

  for (const [location, url] of [
    ['//127.0.0.1:5050/master/api/v1/scheduler', 'http://127.0.0.1:5050/master/api/v1/scheduler'],
    ['//127.0.0.1:5060', `http://127.0.0.1:5060${path}`],
    ['http://m2:5050/api/v1/scheduler', `http://m2:5050${path}`],
    ['m2:5050', `http://m2:5050${path}`],
    ['', undefined],
    ['//', undefined],
    ['javascript:alert(1)', undefined]
  ] as const) it(`a redirect to '${location}' leads to ${url}`, () => { expect(redirectUrl(location, urlA)).to.equal(url) })
})

describe('session', () => {
  it('is subscribed by 200 and SUBSCRIBED, and only then has a subscription', () => {
    const session = newSession()
    expect(connected(session.step({ type: 'start' }))).to.equal(urlA)
    session.step({ type: 'response', response: ok })
    expect(session.subscription).to.equal(undefined)
    const effects = session.step({ type: 'event', event: subscribed })
    expect(noticed(effects)).to.include({ type: 'subscribed', frameworkId: 'f-1', url: urlA })
    expect(session.subscription).to.deep.equal({ url: urlA, streamId: 's-1' })
  })

  it('takes a stream for dead after five silent heartbeat intervals, each event puts that off', () => {
    const session = newSession()
    subscribe(session)
    expect(find(session.step({ type: 'event', event: { type: 'HEARTBEAT' } }), 'timer')?.delayMs).to.equal(75_000)
    const effects = session.step({ type: 'timer' })
    expect(noticed(effects)).to.include({ type: 'disconnected', code: 'ATOLL_TIMEOUT' })
    expect(find(effects, 'disconnect')).to.not.equal(undefined)
    expect(session.subscription).to.equal(undefined)
  })

  it('comes back to the same master after a lost stream, and rotates after failed attempts', () => {
    const session = newSession()
    subscribe(session)
    session.step({ type: 'end', code: 'ATOLL_CONNECTION_LOST', message: 'reset' })
    expect(connected(session.step({ type: 'timer' }))).to.equal(urlA)
    session.step({ type: 'end', code: 'ATOLL_UNREACHABLE', message: 'refused' })
    expect(connected(session.step({ type: 'timer' }))).to.equal(urlB)
    session.step({ type: 'end', code: 'ATOLL_UNREACHABLE', message: 'refused' })
    expect(connected(session.step({ type: 'timer' }))).to.equal(urlA)
  })

  it('backs off exponentially with jitter, never longer than 15 s, and anew after a subscription', () => {
    const session = newSession(['a'])
    session.step({ type: 'start' })
    const delays = Array.from({ length: 12 }, () => {
      const effects = session.step({ type: 'end', code: 'ATOLL_UNREACHABLE', message: 'refused' })
      session.step({ type: 'timer' })
      return find(effects, 'timer')!.delayMs
    })
    delays.forEach((delayMs, attempt) => {
      const most = Math.min(15_000, 500 * 2 ** attempt)
      expect(delayMs).to.be.within(most / 2, most)
    })
    session.step({ type: 'response', response: ok })
    session.step({ type: 'event', event: subscribed })
    expect(find(session.step({ type: 'end', code: 'ATOLL_CONNECTION_LOST', message: '' }), 'timer')!.delayMs).to.be.at.most(500)
  })

  it('backs off longer and longer while each subscription ends by its first call, until a call is accepted', () => {
    const session = newSession(['a'])
    subscribe(session)
    const doubt = (): number => find(session.step({ type: 'doubt', code: 'ATOLL_MESOS_NOT_SUBSCRIBED', message: '403' }), 'timer')!.delayMs
    const again = (): void => {
      session.step({ type: 'timer' })
      session.step({ type: 'response', response: ok })
      session.step({ type: 'event', event: subscribed })
    }
    const delays = Array.from({ length: 7 }, () => {
      const delayMs = doubt()
      again()
      return delayMs
    })
    expect(delays.at(-1)).to.be.at.least(7_500)
    session.step({ type: 'accepted' })
    expect(doubt()).to.be.at.most(500)
  })

  it('follows redirects at once, five in a row, then waits and tries the next master', () => {
    const session = newSession()
    session.step({ type: 'start' })
    for (let hop = 1; hop <= 5; hop++) {
      const effects = session.step({ type: 'response', response: { status: 307, location: `//hop${hop}:5050`, body: '' } })
      expect(connected(effects)).to.equal(`http://hop${hop}:5050${path}`)
    }
    const effects = session.step({ type: 'response', response: { status: 307, location: '//hop6:5050', body: '' } })
    expect(noticed(effects)).to.include({ type: 'disconnected', code: 'ATOLL_MESOS_NO_LEADER' })
    expect(connected(session.step({ type: 'timer' }))).to.equal(urlB)
  })

  it('a redirect to a dead leader leads back to the configured masters', () => {
    const session = newSession()
    session.step({ type: 'start' })
    session.step({ type: 'response', response: { status: 307, location: '//dead:5050', body: '' } })
    session.step({ type: 'end', code: 'ATOLL_UNREACHABLE', message: 'refused' })
    expect(connected(session.step({ type: 'timer' }))).to.equal(urlB)
  })

  for (const [status, code] of [
    [400, 'ATOLL_MESOS_REFUSED'], [401, 'ATOLL_MESOS_UNAUTHENTICATED'], [403, 'ATOLL_MESOS_NOT_SUBSCRIBED'],
    [404, 'ATOLL_MESOS_STARTING'], [503, 'ATOLL_MESOS_NO_LEADER'], [500, 'ATOLL_UNAVAILABLE'], [415, 'ATOLL_MESOS_REFUSED']
  ] as const) {
    it(`tells ${status} as ${code} and tries again`, () => {
      expect(statusCode(status)).to.equal(code)
      const session = newSession()
      session.step({ type: 'start' })
      const effects = session.step({ type: 'response', response: { status, body: 'why' } })
      expect(noticed(effects)).to.include({ type: 'disconnected', code })
      expect(noticed(effects).message).to.contain('why')
      if (status < 402) expect(find(effects, 'timer')!.delayMs).to.be.at.least(7_500)
    })
  }

  for (const [message, code] of [
    ['Framework failed over', 'ATOLL_MESOS_FAILED_OVER'], ['Framework has been removed', 'ATOLL_MESOS_REMOVED']
  ] as const) {
    it(`'${message}' is the end: no further attempt`, () => {
      expect(errorEventCode(message)).to.equal(code)
      const session = newSession()
      subscribe(session)
      const effects = session.step({ type: 'event', event: { type: 'ERROR', error: { message } } })
      expect(noticed(effects)).to.include({ type: 'stopped', code })
      for (const input of [{ type: 'end', code: '', message: '' }, { type: 'timer' }, { type: 'start' }] as const) {
        expect(session.step(input)).to.deep.equal([])
      }
    })
  }

  it('a refusal by an ERROR event before SUBSCRIBED is told and tried again, slowly', () => {
    const session = newSession()
    session.step({ type: 'start' })
    session.step({ type: 'response', response: ok })
    const effects = session.step({ type: 'event', event: { type: 'ERROR', error: { message: "Role '/x' cannot start with a slash" } } })
    expect(noticed(effects)).to.include({ type: 'disconnected', code: 'ATOLL_MESOS_REFUSED' })
    expect(find(effects, 'timer')!.delayMs).to.be.at.least(7_500)
  })

  it('a stream without SUBSCRIBED, and one without a stream id, are given up', () => {
    const session = newSession()
    session.step({ type: 'start' })
    session.step({ type: 'response', response: ok })
    expect(noticed(session.step({ type: 'timer' }))).to.include({ code: 'ATOLL_TIMEOUT' })
    session.step({ type: 'timer' })
    expect(noticed(session.step({ type: 'response', response: { status: 200, body: '' } }))).to.include({ code: 'ATOLL_BAD_MESSAGE' })
  })

  it('redirects in a circle are followed five times, then the next configured master is tried', () => {
    const session = newSession()
    session.step({ type: 'start' })
    const urls: Array<string | undefined> = []
    let effects: SessionEffect[] = []
    for (let hop = 0; find(effects, 'notice') === undefined; hop++) {
      effects = session.step({ type: 'response', response: { status: 307, location: hop % 2 === 0 ? '//b:5050' : '//a:5050', body: '' } })
      urls.push(connected(effects))
    }
    expect(urls).to.deep.equal([urlB, urlA, urlB, urlA, urlB, undefined])
    expect(noticed(effects)).to.include({ code: 'ATOLL_MESOS_NO_LEADER' })
  })
})

describe('session: masters that ZooKeeper names', () => {
  const detecting = (): Session => new Session({ random: new SimRandom(1) }, { masters: 'detected' })

  it('waits until a leader is named, and subscribes at it', () => {
    const session = detecting()
    expect(noticed(session.step({ type: 'start' }))).to.include({ type: 'disconnected', code: 'ATOLL_MESOS_NO_LEADER', retryInMs: 0 })
    expect(connected(session.step({ type: 'masters', urls: ['http://a:5050'] }))).to.equal(urlA)
  })

  it('goes to another leader as soon as one is named, jittered, and forgets the failures at the old one', () => {
    const session = detecting()
    session.step({ type: 'start' })
    session.step({ type: 'masters', urls: ['http://a:5050'] })
    for (let failure = 0; failure < 8; failure++) {
      session.step({ type: 'end', code: 'ATOLL_UNREACHABLE', message: 'refused' })
      session.step({ type: 'timer' })
    }
    const effects = session.step({ type: 'masters', urls: ['http://b:5050'] })
    expect(noticed(effects)).to.include({ code: 'ATOLL_MESOS_LEADER_CHANGED' })
    expect(find(effects, 'timer')!.delayMs).to.be.at.most(500)
    expect(connected(session.step({ type: 'timer' }))).to.equal(urlB)
  })

  it('a subscription survives that ZooKeeper knows no leader for a moment, or names the one that it has', () => {
    const session = detecting()
    session.step({ type: 'start' })
    session.step({ type: 'masters', urls: ['http://a:5050'] })
    session.step({ type: 'response', response: ok })
    session.step({ type: 'event', event: subscribed })
    expect(session.step({ type: 'masters', urls: [] })).to.deep.equal([])
    expect(session.step({ type: 'masters', urls: ['http://a:5050'] })).to.deep.equal([])
    expect(session.subscription).to.not.equal(undefined)
  })

  it('without a leader there is nobody to be asked again', () => {
    const session = detecting()
    session.step({ type: 'start' })
    session.step({ type: 'masters', urls: ['http://a:5050'] })
    session.step({ type: 'end', code: 'ATOLL_UNREACHABLE', message: 'refused' })
    expect(connected(session.step({ type: 'masters', urls: [] }))).to.equal(undefined)
    expect(session.phase).to.equal('detecting')
    expect(connected(session.step({ type: 'masters', urls: ['http://b:5050'] }))).to.equal(urlB)
  })
})
