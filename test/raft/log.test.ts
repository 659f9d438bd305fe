import { expect } from 'chai'
import fc from 'fast-check'
import { RaftLog } from '../../fsnode/raft/core/log.ts'
import { majorityOf, reachedByMajority } from '../../fsnode/raft/core/quorum.ts'
import type { Entry } from '../../fsnode/raft/core/types.ts'
import { fromWire, toWire } from '../../fsnode/raft/message-codec.ts'
import { decode, encode } from '../../fsnode/protocol/frame.ts'
import { entryOf } from './core-net.ts'

/** The log as a plain array. */
class NaiveLog {
  mark = { index: 0, term: 0 }
  entries: Entry[] = []

  get lastIndex (): number { return this.entries.at(-1)?.index ?? this.mark.index }

  get lastTerm (): number { return this.entries.at(-1)?.term ?? this.mark.term }

  termAt (index: number): number | undefined {
    return index === this.mark.index ? this.mark.term : this.entries.find((entry) => entry.index === index)?.term
  }

  lastIndexOfTermAtMost (term: number, index: number): number {
    const found = this.entries.filter((entry) => entry.index <= index && entry.term <= term).at(-1)?.index
    return found ?? Math.min(index, this.mark.index)
  }
}

type Action = { do: 'append', termStep: number, bytes: number } | { do: 'truncate' | 'cut' | 'evict', share: number }

const actions = fc.array(fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('append' as const), termStep: fc.constantFrom(0, 0, 0, 1, 3), bytes: fc.nat(300) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('truncate' as const, 'cut' as const, 'evict' as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }) }
), { maxLength: 60 })

describe('the raft log in memory', () => {
  it('answers as a plain array of entries does', () => {
    fc.assert(fc.property(actions, (list: Action[]) => {
      const log = new RaftLog({ index: 0, term: 0 }, 2_000)
      const naive = new NaiveLog()
      for (const action of list) {
        perform(log, naive, action)
        compare(log, naive)
      }
    }), { numRuns: 300 })
  })

  it('keeps its memory within the bound, except for what is not on disk yet', () => {
    const log = new RaftLog({ index: 0, term: 0 }, 5_000)
    for (let index = 1; index <= 200; index++) {
      log.append(entryOf(index, 1, 'x'.repeat(100)))
      log.evict(index <= 100 ? 0 : index)
    }
    expect(log.cachedBytes).to.be.at.most(5_000)
    expect(log.get(1)).to.equal(undefined)
    expect(log.get(200)).to.deep.include({ index: 200 })
    expect(log.slice(1, 10, 10_000)).to.equal(null)
    expect(log.termAt(1)).to.equal(1)
  })

  it('refuses an entry that leaves a gap or goes back in time', () => {
    const log = new RaftLog({ index: 5, term: 3 }, 1_000)
    expect(() => { log.append(entryOf(7, 3)) }).to.throw('cannot follow')
    expect(() => { log.append(entryOf(6, 2)) }).to.throw('cannot follow')
  })
})

function perform (log: RaftLog, naive: NaiveLog, action: Action): void {
  const length = log.lastIndex - log.markIndex
  if (action.do === 'append') {
    const entry = entryOf(log.lastIndex + 1, log.lastTerm + action.termStep, 'x'.repeat(action.bytes))
    log.append(entry)
    naive.entries.push(entry)
  } else if (action.do === 'evict') {
    log.evict(log.markIndex + Math.round(action.share * length))
  } else if (action.do === 'truncate') {
    const from = log.markIndex + 1 + Math.round(action.share * length)
    log.truncate(from)
    naive.entries = naive.entries.filter(({ index }) => index < from)
  } else {
    const to = log.markIndex + Math.round(action.share * length)
    naive.mark = { index: to, term: naive.termAt(to)! }
    log.cut(to)
    naive.entries = naive.entries.filter(({ index }) => index > to)
  }
}

function compare (log: RaftLog, naive: NaiveLog): void {
  expect([log.markIndex, log.markTerm, log.lastIndex, log.lastTerm]).to.deep.equal([naive.mark.index, naive.mark.term, naive.lastIndex, naive.lastTerm])
  for (let index = log.markIndex - 1; index <= log.lastIndex + 1; index++) {
    expect(log.termAt(index)).to.equal(naive.termAt(index))
    for (const term of [0, log.markTerm, log.lastTerm - 1, log.lastTerm]) {
      if (index >= log.markIndex && index <= log.lastIndex && term >= log.markTerm) expect(log.lastIndexOfTermAtMost(term, index)).to.equal(naive.lastIndexOfTermAtMost(term, index))
    }
    const entry = log.get(index)
    if (entry !== undefined) expect(entry).to.equal(naive.entries.find((other) => other.index === index))
  }
  const cached = log.slice(log.lastIndex, 10, 10)
  if (cached !== null && log.length > 0) expect(cached.at(-1)).to.equal(naive.entries.at(-1))
}

describe('raft quorums', () => {
  it('a value is reached by a majority when at least that many have it or more', () => {
    fc.assert(fc.property(fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 7 }), (values) => {
      const naive = Math.max(...values.filter((candidate) => values.filter((value) => value >= candidate).length >= majorityOf(values.length)))
      expect(reachedByMajority([...values])).to.equal(naive)
    }))
  })

  it('two majorities of groups that differ by one member share a member', () => {
    for (let size = 1; size < 8; size++) expect(majorityOf(size) + majorityOf(size + 1)).to.be.greaterThan(size + 1)
  })
})

describe('raft messages on the wire', () => {
  const data = Buffer.from('data')
  const messages = [
    { type: 'vote', term: 2 ** 40, pre: true, transfer: false, lastIndex: 2 ** 47, lastTerm: 1 },
    { type: 'voted', term: 3, pre: false, granted: true },
    { type: 'append', term: 3, prevIndex: 7, prevTerm: 2, commitIndex: 6, stamp: 1234.567, round: 3, entries: [{ index: 8, term: 2, kind: 0, data: Buffer.alloc(0) }, { index: 9, term: 3, kind: 1, data }] },
    { type: 'appended', term: 3, success: false, index: 7, hintIndex: 5, hintTerm: 2, stamp: -1, round: -1, wantSnapshot: true },
    { type: 'snapshot', term: 3, stream: 1, chunk: 2, last: true, index: 100, indexTerm: 2, members: ['a', 'b'], data },
    { type: 'received', term: 3, known: true, stream: 1, next: 3 },
    { type: 'timeoutNow', term: 3, round: 9 }
  ] as const

  for (const message of messages) {
    it(`${message.type} arrives as it was sent`, () => {
      expect(fromWire(decode(encode(toWire(message as never))))).to.deep.equal(message)
    })

    it(`${message.type} with anything missing, surplus or of another type is not a message, and harms nobody`, () => {
      const wire = toWire(message as never)
      for (let at = 0; at < wire.length; at++) {
        for (const wrong of [null, undefined, 'x', -3, 1.5, NaN, {}, [1]]) {
          const bad = [...wire]
          bad[at] = wrong
          const result = fromWire(bad)
          // A stamp may be any number, a list of one name is still a list of names.
          if (result !== undefined) expect([5, 6, 7]).to.include(at)
        }
        if (at < 2) expect(fromWire(wire.slice(0, at))).to.equal(undefined)
      }
    })
  }

  it('garbage is not a message', () => {
    fc.assert(fc.property(fc.anything(), (value) => { expect(fromWire(value)).to.equal(undefined) }))
    expect(fromWire([99, 1])).to.equal(undefined)
    // Entries of a term after the leader's, or in falling terms.
    expect(fromWire([2, 3, 7, 2, 6, 0, 0, 4, 1, data])).to.equal(undefined)
    expect(fromWire([2, 3, 7, 2, 6, 0, 0, 1, 1, data])).to.equal(undefined)
  })
})
