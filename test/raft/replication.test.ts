import { expect } from 'chai'
import { defaultTiming } from '../../fsnode/raft/constants.ts'
import { leaseUntil } from '../../fsnode/raft/core/replication.ts'
import type { AppendRequest, AppendResponse } from '../../fsnode/raft/core/types.ts'
import { Core, CoreNet, entryOf, type CoreInit } from './core-net.ts'

const { heartbeatMs } = defaultTiming
const three = (init: CoreInit = {}): CoreNet => new CoreNet(['a', 'b', 'c'].map((id) => new Core(id, { fresh: true, ...init })))
const append = (fields: Partial<AppendRequest>): AppendRequest => ({ type: 'append', term: 1, prevIndex: 0, prevTerm: 0, commitIndex: 0, stamp: 7, round: 0, entries: [], ...fields })
const appended = (fields: Partial<AppendResponse>): AppendResponse => ({ type: 'appended', term: 1, success: true, index: 0, hintIndex: 0, hintTerm: 0, stamp: 0, round: 0, wantSnapshot: false, ...fields })

/** A leader of term 1 whose first entry all hold; nothing it sends arrives from here on. */
function leaderAlone (init: CoreInit = {}): Core {
  const net = three(init)
  const leader = net.elect('a')
  net.pass(200)
  leader.take()
  return leader
}

describe('raft followers', () => {
  // The logs of figure 7 of the Raft paper, by the terms of their entries.
  const leaderTerms = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]
  const figure7: Array<[string, number[]]> = [
    ['misses one entry', [1, 1, 1, 4, 4, 5, 5, 6, 6]],
    ['misses many', [1, 1, 1, 4]],
    ['has one too many', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]],
    ['has entries of a later term', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]],
    ['has the wrong ones instead', [1, 1, 1, 4, 4, 4, 4]],
    ['has many of two lost terms', [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]],
    ['has nothing', []]
  ]
  for (const [name, terms] of figure7) {
    it(`come to hold the leader's log: one that ${name}`, () => {
      const net = new CoreNet([new Core('a', { terms: leaderTerms, term: 7 }), new Core('b', { terms: leaderTerms, term: 7 }), new Core('c', { terms, term: 7 })])
      const leader = net.elect('a')
      net.pass(500)
      expect(leader.state.role).to.equal('leader')
      expect(net.get('c').terms).to.deep.equal([...leaderTerms, leader.state.term])
      expect(net.get('c').state.commitIndex).to.equal(11)
    })
  }

  it('find the common entry in one exchange per term, not per entry', () => {
    const long = Array<number>(5_000).fill(2)
    const net = new CoreNet([new Core('a', { terms: [...Array<number>(10).fill(1), ...Array<number>(5_000).fill(3)], term: 3 }), new Core('b', { members: ['a', 'b'], terms: [...Array<number>(10).fill(1), ...long], term: 3 })])
    net.get('a').state.members = ['a', 'b']
    net.elect('a')
    net.pass(heartbeatMs)
    expect(net.get('b').state.commitIndex).to.equal(5_011)
  })

  it('acknowledge entries only when they are on stable storage', () => {
    const core = new Core('b', { fresh: true })
    core.autoWrite = false
    core.receive('a', append({ entries: [entryOf(1, 1), entryOf(2, 1)] }))
    expect(core.take()).to.deep.equal([])
    // The same again, and a heartbeat, while the write is under way.
    core.receive('a', append({ entries: [entryOf(1, 1), entryOf(2, 1)] }))
    core.receive('a', append({ prevIndex: 2, prevTerm: 1 }))
    expect(core.take().map(({ message }) => (message as AppendResponse).index)).to.deep.equal([0, 0])
    core.write()
    expect(core.take().map(({ message }) => (message as AppendResponse).index)).to.deep.equal([2])
    core.receive('a', append({ prevIndex: 2, prevTerm: 1 }))
    expect(core.take().map(({ message }) => (message as AppendResponse).index)).to.deep.equal([2])
  })

  it('do not take the end of one write for the entries that replaced what it wrote', () => {
    const core = new Core('b', { fresh: true })
    core.autoWrite = false
    core.receive('a', append({ entries: [entryOf(1, 1), entryOf(2, 1), entryOf(3, 1)] }))
    core.receive('c', append({ term: 2, prevIndex: 1, prevTerm: 1, entries: [entryOf(2, 2)] }))
    const first = core.unwritten.shift()!
    core.do({ type: 'persisted', sequence: first.sequence })
    expect(core.state.persistedIndex).to.equal(1)
    core.write()
    expect(core.state.persistedIndex).to.equal(2)
  })

  it('keep entries that a delayed, shorter append does not mention', () => {
    const core = new Core('b', { fresh: true })
    core.receive('a', append({ entries: [entryOf(1, 1), entryOf(2, 1), entryOf(3, 1)] }))
    core.receive('a', append({ entries: [entryOf(1, 1)] }))
    expect(core.terms).to.deep.equal([1, 1, 1])
  })

  it('commit no further than their log is known to equal the leader\'s', () => {
    const core = new Core('b', { terms: [1, 1, 1], fresh: true })
    core.receive('a', append({ term: 2, prevIndex: 1, prevTerm: 1, commitIndex: 3 }))
    expect(core.state.commitIndex).to.equal(1)
  })

  it('never give up a committed entry: that would be a broken invariant', () => {
    const core = new Core('b', { fresh: true })
    core.receive('a', append({ entries: [entryOf(1, 1)], commitIndex: 1 }))
    expect(() => core.receive('c', append({ term: 2, entries: [entryOf(1, 2)] }))).to.throw('is committed')
  })

  it('tell a leader of an earlier term that it is not one any more', () => {
    const core = new Core('b', { term: 5, fresh: true })
    core.receive('a', append({ term: 4 }))
    expect(core.take()).to.have.nested.property('[0].message').that.includes({ type: 'appended', success: false, term: 5 })
    expect(core.state.leader).to.equal(null)
  })
})

describe('raft leaders', () => {
  it('send an entry before it is on their own disk, and count themselves only after', () => {
    const leader = leaderAlone()
    leader.autoWrite = false
    leader.propose('x')
    expect(leader.takeAppends().map(({ entries }) => entries.length)).to.deep.equal([1, 1])
    leader.receive('b', appended({ index: 2 }))
    expect(leader.state.commitIndex).to.equal(1)
    leader.write()
    expect(leader.state.commitIndex).to.equal(2)
  })

  it('commit with a majority of followers while their own disk is slow', () => {
    const leader = leaderAlone()
    leader.autoWrite = false
    leader.propose('x')
    leader.receive('b', appended({ index: 2 }))
    leader.receive('c', appended({ index: 2 }))
    expect(leader.state.commitIndex).to.equal(2)
  })

  it('do not commit an entry of an earlier term by counting it (figure 8)', () => {
    // a led term 2 and gave entry 2 to b only; c led term 3; a leads term 4 and brings entry 2 to a majority.
    const net = new CoreNet([
      new Core('a', { terms: [1, 2], term: 3, fresh: true }), new Core('b', { terms: [1, 2], term: 3, fresh: true }), new Core('c', { terms: [1, 3], term: 3, fresh: true })
    ])
    const leader = net.get('a')
    net.cut.add('c')
    leader.autoWrite = false // its entry of term 4 does not reach the disk
    leader.state.electionDeadline = 0
    leader.tick()
    net.settle()
    leader.write()
    net.settle()
    expect(leader.state).to.include({ role: 'leader', term: 4 })
    leader.receive('b', appended({ term: 4, index: 2 }))
    expect(leader.state.commitIndex).to.equal(0)
    leader.write()
    leader.receive('b', appended({ term: 4, index: 3 }))
    expect(leader.state.commitIndex).to.equal(3)
  })

  it('send what was proposed together in one append', () => {
    const leader = leaderAlone()
    leader.propose('x', 'y', 'z')
    expect(leader.takeAppends('b').map(({ entries }) => entries.length)).to.deep.equal([3])
  })

  it('keep several appends under way, as many as the window holds, and go on with each answer', () => {
    const leader = leaderAlone({ limits: { appendsInFlightMax: 3, appendEntriesMax: 2 } })
    leader.propose(...Array.from({ length: 20 }, (_, index) => `x${index}`))
    expect(leader.takeAppends('b').map(({ prevIndex, entries }) => [prevIndex, entries.length])).to.deep.equal([[1, 2], [3, 2], [5, 2]])
    leader.receive('b', appended({ index: 5 })) // answers two at once
    expect(leader.takeAppends('b').map(({ prevIndex }) => prevIndex)).to.deep.equal([7, 9])
  })

  it('bound the bytes under way, but send an entry however large', () => {
    const leader = leaderAlone({ limits: { bytesInFlightMax: 100, appendBytesMax: 50 } })
    leader.propose('x'.repeat(500), 'y'.repeat(500))
    expect(leader.takeAppends('b').map(({ entries }) => entries.length)).to.deep.equal([1])
    leader.receive('b', appended({ index: 2 }))
    expect(leader.takeAppends('b').map(({ entries }) => entries.length)).to.deep.equal([1])
  })

  it('learn of a lost append from the next heartbeat and send it again at once', () => {
    const net = three()
    const leader = net.elect('a')
    net.pass(200)
    leader.propose('lost')
    leader.take()
    net.pass(heartbeatMs)
    expect(net.get('b').terms).to.deep.equal([1, 1])
    expect(leader.state.commitIndex).to.equal(2)
  })

  it('are not misled by answers that come late or in another order', () => {
    const leader = leaderAlone({ limits: { appendEntriesMax: 1 } })
    leader.propose('x', 'y', 'z')
    leader.take()
    leader.receive('b', appended({ index: 4 }))
    leader.receive('b', appended({ index: 2 }))
    leader.receive('b', appended({ success: false, index: 2, hintIndex: 1, hintTerm: 1 }))
    expect(leader.state.progress.get('b')).to.include({ mode: 'replicate', match: 4, next: 5 })
    expect(leader.state.commitIndex).to.equal(4)
  })

  it('send nothing but heartbeats when there is nothing to say, and none to whom they just wrote', () => {
    const leader = leaderAlone()
    leader.pass(10 * heartbeatMs)
    const idle = leader.takeAppends('b')
    expect(idle.every(({ entries }) => entries.length === 0)).to.equal(true)
    expect(idle.length).to.be.within(8, 11)
    const busy = leaderAlone({ limits: { appendsInFlightMax: 1_000 } })
    for (let turn = 0; turn < 40; turn++) {
      busy.now += 25
      busy.propose('x')
      busy.tick()
    }
    expect(busy.takeAppends('b').filter(({ entries }) => entries.length === 0)).to.deep.equal([])
  })

  it('of different groups on one node send their heartbeats in the same ticks, whenever they sent last', () => {
    for (const reads of [1, 2, 3, 4]) {
      const [one, other] = [leaderAlone(), leaderAlone()]
      const beats: Array<[number, number]> = []
      for (let turn = 0; turn < 36; turn++) {
        for (const leader of [one, other]) leader.now += 51
        if (turn < reads) other.do({ type: 'read' })
        one.tick()
        other.tick()
        beats.push([one.takeAppends('b').length, other.takeAppends('b').length])
      }
      const later = beats.slice(8)
      expect(later.map(([first]) => first)).to.deep.equal(later.map(([, second]) => second))
      expect(later.filter(([first]) => first > 0).length).to.be.within(7, 8)
    }
  })

  it('read entries that have left the memory from disk, once', () => {
    const leader = leaderAlone({ limits: { cacheBytesMax: 400 } })
    leader.receive('c', appended({ index: 1 }))
    leader.propose(...Array.from({ length: 50 }, (_, index) => `x${index}`))
    leader.receive('b', appended({ success: false, index: 51, hintIndex: 1, hintTerm: 1 }))
    leader.pass(200)
    expect(leader.reads.filter(({ to }) => to === 'b')).to.deep.equal([{ to: 'b', first: 2, last: 51 }])
    leader.take()
    leader.do({ type: 'entries', to: 'b', entries: Array.from({ length: 50 }, (_, index) => entryOf(index + 2, 1)) })
    expect(leader.takeAppends('b').map(({ prevIndex, entries }) => [prevIndex, entries.length])).to.deep.equal([[1, 50]])
  })

  it('throw on an acknowledgement of what they never sent', () => {
    expect(() => leaderAlone().receive('b', appended({ index: 99 }))).to.throw('the last one is 1')
  })
})

describe('raft leases', () => {
  it('run from when the message left, not from when the answer came', () => {
    const leader = leaderAlone()
    const left = leader.now
    leader.do({ type: 'read' })
    leader.now += 400
    for (const member of ['b', 'c']) leader.receive(member, appended({ index: 1, stamp: left, round: leader.state.round }))
    expect(leaseUntil(leader.state)).to.equal(left + 1_000 - 150)
  })

  it('need a majority', () => {
    const net = new CoreNet(['a', 'b', 'c', 'd', 'e'].map((id) => new Core(id, { fresh: true, members: ['a', 'b', 'c', 'd', 'e'] })))
    const leader = net.elect('a')
    net.pass(200)
    const before = leaseUntil(leader.state)
    leader.now += 300
    leader.receive('b', appended({ index: 1, stamp: leader.now }))
    expect(leaseUntil(leader.state)).to.equal(before)
    leader.receive('c', appended({ index: 1, stamp: leader.now }))
    expect(leaseUntil(leader.state)).to.equal(leader.now + 850)
  })

  it('do not hold before an entry of the own term is committed', () => {
    const net = three()
    const leader = net.get('a')
    leader.tick()
    leader.receive('b', { type: 'voted', term: 1, pre: true, granted: true })
    leader.receive('b', { type: 'voted', term: 1, pre: false, granted: true })
    leader.receive('b', appended({ index: 0, stamp: leader.now }))
    expect(leader.state.role).to.equal('leader')
    expect(leaseUntil(leader.state)).to.equal(-Infinity)
    leader.receive('b', appended({ index: 1, stamp: leader.now }))
    expect(leaseUntil(leader.state)).to.equal(leader.now + 850)
  })

  it('end with an order to succeed, until the successor is known to have seen its withdrawal', () => {
    const leader = leaderAlone()
    leader.do({ type: 'transfer', to: 'b' })
    expect(leader.take().map(({ to, message }) => [to, message.type])).to.deep.include(['b', 'timeoutNow'])
    expect(leaseUntil(leader.state)).to.equal(-Infinity)
    const { round } = leader.state
    leader.now += 900
    for (const member of ['b', 'c']) leader.receive(member, appended({ index: 1, stamp: leader.now, round }))
    leader.pass(200)
    expect(leader.state.transfer).to.equal(null)
    leader.receive('c', appended({ index: 1, stamp: leader.now, round: leader.state.round }))
    expect(leaseUntil(leader.state)).to.equal(-Infinity)
    leader.receive('b', appended({ index: 1, stamp: leader.now, round: leader.state.round }))
    expect(leaseUntil(leader.state)).to.equal(leader.now + 850)
  })

  it('hold again once the successor is out of the group: it finds no majority any more', () => {
    const leader = leaderAlone()
    leader.do({ type: 'transfer', to: 'b' })
    leader.now += 900
    for (const member of ['b', 'c']) leader.receive(member, appended({ index: 1, stamp: leader.now }))
    leader.pass(200)
    expect(leader.state.transfer).to.equal(null)
    leader.do({ type: 'members', members: ['a', 'c'] })
    leader.receive('c', appended({ index: 1, stamp: leader.now, round: leader.state.round }))
    expect(leaseUntil(leader.state), 'its removal is not committed').to.equal(-Infinity)
    leader.receive('c', appended({ index: 2, stamp: leader.now, round: leader.state.round }))
    expect(leader.state.commitIndex).to.equal(2)
    expect(leaseUntil(leader.state)).to.equal(leader.now + 850)
  })

  it('a successor that has seen the withdrawal does not obey a late order', () => {
    const core = new Core('b', { terms: [1], fresh: true })
    core.receive('a', append({ prevIndex: 1, prevTerm: 1, round: 5 }))
    core.receive('a', { type: 'timeoutNow', term: 1, round: 4 })
    expect(core.state.role).to.equal('follower')
    core.receive('a', { type: 'timeoutNow', term: 1, round: 5 })
    expect(core.state.role).to.equal('candidate')
  })
})
