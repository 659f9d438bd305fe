import { expect } from 'chai'
import { decodeMembers, membersAt } from '../../fsnode/raft/core/state.ts'
import { entryKind, type AppendRequest } from '../../fsnode/raft/core/types.ts'
import { encode } from '../../fsnode/protocol/frame.ts'
import { Core, CoreNet, entryOf } from './core-net.ts'

const founders = ['a', 'b', 'c']
const withNewcomer = (): CoreNet => new CoreNet([...founders.map((id) => new Core(id, { fresh: true })), new Core('d', { members: [], fresh: true })])
const append = (fields: Partial<AppendRequest>): AppendRequest => ({ type: 'append', term: 1, prevIndex: 0, prevTerm: 0, commitIndex: 0, stamp: 7, round: 0, entries: [], ...fields })

describe('raft membership', () => {
  it('a newcomer gets the log before it gets a vote', () => {
    const net = withNewcomer()
    const leader = net.elect('a')
    leader.propose('x', 'y')
    net.settle()
    net.cut.add('d')
    leader.do({ type: 'members', members: [...founders, 'd'] })
    net.pass(500)
    expect(leader.state.members).to.deep.equal(founders)
    net.cut.clear()
    net.pass(700)
    expect(leader.changes).to.deep.equal(['appended'])
    for (const id of [...founders, 'd']) expect(net.get(id).state.members).to.deep.equal([...founders, 'd'])
    expect(net.get('d').terms).to.deep.equal([1, 1, 1, 1])
  })

  it('a newcomer that does not come is given up, and the group goes on as it was', () => {
    const net = withNewcomer()
    const leader = net.elect('a')
    net.settle()
    net.cut.add('d')
    leader.do({ type: 'members', members: [...founders, 'd'] })
    net.pass(30_100)
    expect(leader.changes).to.deep.equal(['timedOut'])
    expect(leader.state).to.include({ role: 'leader', term: 1, joining: null })
    expect([...leader.state.progress.keys()]).to.deep.equal(['b', 'c'])
  })

  it('one change at a time', () => {
    const net = withNewcomer()
    const leader = net.elect('a')
    net.settle()
    for (const members of [['a'], ['a', 'b', 'c', 'd', 'e'], ['a', 'b', 'd'], [], ['a', 'b', 'c', 'c']]) {
      leader.do({ type: 'members', members })
    }
    expect(leader.changes).to.deep.equal(Array(5).fill('refused'))
    leader.do({ type: 'members', members: ['a', 'b'] })
    leader.take() // the change is under way
    leader.do({ type: 'members', members: ['a'] })
    expect(leader.changes.slice(5)).to.deep.equal(['appended', 'refused'])
  })

  it('no change before an entry of the own term is committed', () => {
    const leader = new Core('a', { fresh: true })
    leader.tick()
    leader.receive('b', { type: 'voted', term: 1, pre: true, granted: true })
    leader.receive('b', { type: 'voted', term: 1, pre: false, granted: true })
    leader.do({ type: 'members', members: ['a', 'b'] })
    expect(leader.state.role).to.equal('leader')
    expect(leader.changes).to.deep.equal(['refused'])
  })

  it('a change counts from when it is in the log, and no longer when it is replaced', () => {
    const core = new Core('b', { fresh: true })
    core.receive('a', append({ entries: [entryOf(1, 1), { index: 2, term: 1, kind: entryKind.members, data: encode(['a', 'b']) }] }))
    expect(core.state.members).to.deep.equal(['a', 'b'])
    core.receive('c', append({ term: 2, prevIndex: 1, prevTerm: 1, entries: [entryOf(2, 2)] }))
    expect(core.state.members).to.deep.equal(founders)
  })

  it('a leader that is removed leads until that is committed, without counting itself, and hands over', () => {
    const net = withNewcomer()
    const leader = net.elect('a')
    net.pass(200)
    leader.do({ type: 'members', members: ['b', 'c'] })
    expect(leader.state).to.include({ role: 'leader', commitIndex: 1 })
    net.settle()
    expect(leader.state.role).to.equal('follower')
    const successors = ['b', 'c'].filter((id) => net.get(id).state.role === 'leader')
    expect(successors).to.have.length(1)
    net.pass(5_000)
    expect(net.get(successors[0]!).state).to.include({ role: 'leader', term: 2 })
    expect(leader.state.role).to.equal('follower')
  })

  it('the members as of an entry are known as long as the entry is, and go with the mark', () => {
    const net = withNewcomer()
    const leader = net.elect('a')
    net.settle()
    leader.do({ type: 'members', members: ['a', 'b'] })
    net.settle()
    leader.propose('x')
    net.settle()
    expect(membersAt(leader.state, 1)).to.deep.equal(founders)
    expect(membersAt(leader.state, 2)).to.deep.equal(['a', 'b'])
    const { write } = leader.do({ type: 'cut', index: 3 })
    expect(write).to.deep.include({ mark: { index: 3, term: 1, members: ['a', 'b'] }, cutFrom: 1 })
    expect(leader.state.memberHistory).to.deep.equal([{ index: 2, members: ['a', 'b'] }])
  })

  it('an entry that should name members and does not is a broken invariant', () => {
    expect(() => decodeMembers(encode([1, 2]))).to.throw('does not')
    expect(() => decodeMembers(encode('a'))).to.throw('does not')
  })
})

describe('raft transfer', () => {
  it('makes the named member lead, in the next term, at once', () => {
    const net = withNewcomer()
    const leader = net.elect('a')
    net.pass(200)
    leader.do({ type: 'transfer', to: 'c' })
    net.settle()
    expect(net.get('c').state).to.include({ role: 'leader', term: 2 })
    expect(leader.state).to.include({ role: 'follower', leader: 'c' })
  })

  it('waits until the successor holds the whole log', () => {
    const net = withNewcomer()
    const leader = net.elect('a')
    net.pass(200)
    net.cut.add('c')
    leader.propose('x')
    net.settle()
    leader.do({ type: 'transfer', to: 'c' })
    net.pass(300)
    expect(leader.state.role).to.equal('leader')
    net.cut.clear()
    net.pass(200)
    expect(net.get('c').state).to.include({ role: 'leader', term: 2 })
    expect(net.get('c').terms).to.deep.equal([1, 1, 2])
  })

  it('picks the most advanced member that answers', () => {
    const net = withNewcomer()
    const leader = net.elect('a')
    net.pass(200)
    net.cut.add('b')
    leader.propose('x')
    net.settle()
    leader.do({ type: 'transfer', to: undefined })
    net.settle()
    expect(net.get('c').state.role).to.equal('leader')
  })

  it('is not for strangers, nor for the leader itself', () => {
    const net = withNewcomer()
    const leader = net.elect('a')
    net.settle()
    for (const to of ['a', 'd', 'nobody']) leader.do({ type: 'transfer', to })
    expect(leader.state.transfer).to.equal(null)
  })
})

describe('raft snapshots', () => {
  const behind = (): { net: CoreNet, leader: Core } => {
    const net = withNewcomer()
    const leader = net.elect('a')
    net.pass(200)
    net.cut.add('c')
    leader.propose(...'abcdefgh')
    net.settle()
    leader.do({ type: 'cut', index: 6 })
    net.cut.clear()
    return { net, leader }
  }

  it('go to a follower that needs what the log has no more, once', () => {
    const { net, leader } = behind()
    net.pass(500)
    expect(leader.snapshots).to.deep.equal(['c'])
    expect(leader.state.progress.get('c')).to.include({ mode: 'snapshot' })
    expect(net.get('c').state.leader).to.equal('a') // heartbeats go on
  })

  it('replace a log that ends before them, and replication goes on from there', () => {
    const { net, leader } = behind()
    net.pass(200)
    const follower = net.get('c')
    const { write } = follower.do({ type: 'restored', mark: { index: 6, term: 1, members: founders } })
    expect(write).to.deep.include({ mark: { index: 6, term: 1, members: founders } })
    net.pass(200)
    expect(follower.state).to.include({ commitIndex: 9 })
    expect(follower.state.log).to.include({ markIndex: 6, lastIndex: 9 })
    expect(leader.state.progress.get('c')).to.include({ mode: 'replicate', match: 9 })
  })

  it('keep the entries that follow them', () => {
    const core = new Core('b', { fresh: true })
    core.receive('a', append({ entries: [1, 2, 3, 4].map((index) => entryOf(index, 1)) }))
    core.do({ type: 'restored', mark: { index: 2, term: 1, members: founders } })
    expect(core.state.log).to.include({ markIndex: 2, lastIndex: 4 })
    expect(core.state.commitIndex).to.equal(2)
  })

  it('replace entries that contradict them', () => {
    const core = new Core('b', { terms: [1, 1, 1, 1], fresh: true })
    const { write } = core.do({ type: 'restored', mark: { index: 3, term: 2, members: founders } })
    expect(core.state.log).to.include({ markIndex: 3, markTerm: 2, lastIndex: 3 })
    expect(write).to.include({ truncateFrom: 1, truncateTo: 4 })
    expect(core.state.persistedIndex).to.equal(3)
  })

  it('go to a follower that lost its state machine, though its log is complete', () => {
    const net = withNewcomer()
    const leader = net.elect('a')
    net.settle()
    net.get('b').do({ type: 'needSnapshot', needed: true })
    net.pass(200)
    expect(leader.snapshots).to.deep.equal(['b'])
    net.get('b').do({ type: 'restored', mark: { index: 1, term: 1, members: founders } })
    leader.propose('x')
    net.pass(200)
    expect(leader.state.progress.get('b')).to.include({ mode: 'replicate', match: 2 })
  })

  it('begin anew when their stream ends without success', () => {
    const { net, leader } = behind()
    net.pass(200)
    leader.do({ type: 'snapshotEnded', to: 'c' })
    net.pass(200)
    expect(leader.snapshots).to.deep.equal(['c', 'c'])
  })

  it('of an earlier leader are refused', () => {
    const core = new Core('b', { term: 5, fresh: true })
    core.receive('a', { type: 'snapshot', term: 4, stream: 1, chunk: 0, last: true, index: 9, indexTerm: 4, members: founders, data: Buffer.alloc(0) })
    expect(core.chunks).to.deep.equal([])
    expect(core.take()).to.deep.equal([{ to: 'a', message: { type: 'received', term: 5, stream: 1, known: false, next: 0 } }])
  })
})
