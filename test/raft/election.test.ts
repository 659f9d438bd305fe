import { expect } from 'chai'
import type { VoteRequest } from '../../fsnode/raft/core/types.ts'
import { Core, CoreNet, entryOf, type CoreInit } from './core-net.ts'

const request = (fields: Partial<VoteRequest>): VoteRequest => ({ type: 'vote', term: 5, pre: false, transfer: false, lastIndex: 3, lastTerm: 4, ...fields })

const three = (init: CoreInit = {}): CoreNet => new CoreNet(['a', 'b', 'c'].map((id) => new Core(id, { fresh: true, ...init })))

describe('raft elections', () => {
  const voter: CoreInit = { terms: [1, 2, 4], term: 4, fresh: true }
  const cases: Array<[string, CoreInit, Partial<VoteRequest>, boolean]> = [
    ['a higher term and an equal log', voter, {}, true],
    ['a longer log', voter, { lastIndex: 9 }, true],
    ['a shorter log of a higher term', voter, { lastIndex: 1, lastTerm: 5 }, true],
    ['a shorter log of the same term', voter, { lastIndex: 2 }, false],
    ['a longer log of a lower term', voter, { lastIndex: 99, lastTerm: 3 }, false],
    ['a lower term', voter, { term: 3 }, false],
    ['the same term, no vote given', voter, { term: 4 }, true],
    ['the same term, the vote given to it before', { ...voter, vote: 'b' }, { term: 4 }, true],
    ['the same term, the vote given to another', { ...voter, vote: 'c' }, { term: 4 }, false],
    ['a pre-vote for the next term', voter, { pre: true }, true],
    ['a pre-vote for the current term', voter, { pre: true, term: 4 }, false],
    ['a pre-vote with a shorter log', voter, { pre: true, lastIndex: 2 }, false]
  ]
  for (const [name, init, fields, granted] of cases) {
    it(`${granted ? 'grants' : 'refuses'} a vote: ${name}`, () => {
      const core = new Core('a', init)
      core.receive('b', request(fields))
      expect(core.take()).to.have.length(1).and.have.nested.property('[0].message').that.includes({ type: 'voted', granted })
    })
  }

  it('a pre-vote changes neither term nor vote', () => {
    const core = new Core('a', voter)
    core.receive('b', request({ pre: true, term: 9 }))
    expect(core.state).to.include({ term: 4, vote: null })
  })

  it('a vote leaves only when it is on stable storage', () => {
    const core = new Core('a', voter)
    core.autoWrite = false
    core.receive('b', request({}))
    core.receive('b', request({})) // again: the first write is still under way
    expect(core.take()).to.deep.equal([])
    core.write()
    expect(core.take().map(({ message }) => message)).to.deep.equal(Array(2).fill({ type: 'voted', term: 5, pre: false, granted: true }))
    expect(core.state.vote).to.equal('b')
  })

  it('who heard from a leader within the minimum election timeout takes no part in an election', () => {
    const core = new Core('a', voter)
    core.receive('c', { type: 'append', term: 4, prevIndex: 3, prevTerm: 4, commitIndex: 0, stamp: 1, round: 0, entries: [] })
    core.take()
    core.now += 999
    core.receive('b', request({}))
    core.receive('b', request({ pre: true }))
    expect(core.take()).to.deep.equal([])
    expect(core.state.term).to.equal(4)
    core.now += 1
    core.receive('b', request({}))
    expect(core.take()).to.have.nested.property('[0].message.granted', true)
  })

  it('but follows the wish of that leader to be succeeded', () => {
    const core = new Core('a', voter)
    core.receive('c', { type: 'append', term: 4, prevIndex: 3, prevTerm: 4, commitIndex: 0, stamp: 1, round: 0, entries: [] })
    core.take()
    core.receive('b', request({ transfer: true }))
    expect(core.take()).to.have.nested.property('[0].message.granted', true)
  })

  it('a replica that restarted supports nobody until a lease that it may have supported has run out', () => {
    const core = new Core('a', { ...voter, fresh: false })
    core.receive('b', request({}))
    expect(core.take()).to.deep.equal([])
    core.now += 1_000
    core.receive('b', request({}))
    expect(core.take()).to.have.nested.property('[0].message.granted', true)
  })

  it('a candidate counts its own vote only when that is on stable storage', () => {
    const core = new Core('a', { fresh: true })
    core.autoWrite = false
    core.tick()
    core.receive('b', { type: 'voted', term: 1, pre: true, granted: true })
    expect(core.state).to.include({ term: 1, role: 'candidate', preCandidate: false })
    expect(core.take().filter(({ message }) => message.type === 'vote' && !message.pre)).to.deep.equal([])
    core.receive('b', { type: 'voted', term: 1, pre: false, granted: true })
    expect(core.state.role).to.equal('candidate')
    core.write()
    expect(core.state.role).to.equal('leader')
  })

  it('votes of those who are not members do not count', () => {
    const core = new Core('a', { fresh: true })
    core.tick()
    for (const stranger of ['x', 'y', 'z']) core.receive(stranger, { type: 'voted', term: 1, pre: true, granted: true })
    expect(core.state).to.include({ term: 0, preCandidate: true })
  })

  it('one that was cut off neither raises its term nor deposes the leader when it returns', () => {
    const net = three()
    const leader = net.elect('a')
    net.cut.add('c')
    net.pass(10_000)
    expect(net.get('c').state).to.include({ role: 'candidate', term: 1 })
    net.cut.clear()
    net.pass(500)
    expect(leader.state).to.include({ role: 'leader', term: 1 })
    expect(net.get('c').state).to.include({ role: 'follower', leader: 'a' })
  })

  it('a leader without a majority steps down within the maximum election timeout', () => {
    const net = three()
    const leader = net.elect('a')
    net.pass(300)
    net.cut.add('a')
    net.pass(1_900)
    expect(leader.state.role).to.equal('leader')
    net.pass(300)
    expect(leader.state).to.include({ role: 'follower', leader: null })
  })

  it('a process that stood still does not take the silence for a dead leader, nor for lost support', () => {
    const net = three()
    const leader = net.elect('a')
    net.pass(300)
    for (const core of net.cores.values()) core.tick(30_000)
    net.settle()
    expect(leader.state).to.include({ role: 'leader', term: 1 })
    net.pass(3_000)
    expect(leader.state).to.include({ role: 'leader', term: 1 })
  })

  it('another leads after the leader is gone, with every committed entry', () => {
    const net = new CoreNet(['a', 'b', 'c'].map((id, order) => new Core(id, { fresh: true, jitter: order / 3 })))
    net.elect('a').propose('x', 'y')
    net.settle()
    net.cut.add('a')
    net.pass(2_500)
    const [next] = [...net.cores.values()].filter(({ id, state }) => id !== 'a' && state.role === 'leader')
    expect(next!.state.term).to.equal(2)
    expect(next!.terms).to.deep.equal([1, 1, 1, 2])
    expect(next!.state.commitIndex).to.equal(4)
  })

  it('a group of one leads without asking, once its vote is on stable storage', () => {
    const core = new Core('a', { members: ['a'], fresh: false })
    core.autoWrite = false
    core.tick()
    expect(core.state.role).to.equal('candidate')
    core.write()
    expect(core.state).to.include({ role: 'leader', commitIndex: 1 })
  })

  it('a replica without members, or whose state machine is incomplete, never campaigns', () => {
    for (const init of [{ members: [] }, { members: ['b', 'c'] }, {}] as CoreInit[]) {
      const core = new Core('a', init)
      if (init.members === undefined) core.do({ type: 'needSnapshot', needed: true })
      core.pass(10_000)
      expect(core.take()).to.deep.equal([])
      expect(core.state.role).to.equal('follower')
    }
  })

  it('two leaders of one term are a broken invariant', () => {
    const net = three()
    const leader = net.elect('a')
    expect(() => leader.receive('b', { type: 'append', term: 1, prevIndex: 0, prevTerm: 0, commitIndex: 0, stamp: 0, round: 0, entries: [entryOf(1, 1)] })).to.throw('both lead in term 1')
  })
})
