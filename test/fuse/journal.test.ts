import { appendFileSync, closeSync, copyFileSync, mkdtempSync, openSync, readFileSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import fc from 'fast-check'
import { FileJournal, subtract, type RecoveredWrite } from '../../fuse/mount/journal.ts'
import { replay } from '../../fuse/mount/replay.ts'
import { Ring } from '../../fuse/mount/ring.ts'
import { restartDelayMs, restartDelayMsMax } from '../../fuse/mount/restarts.ts'
import { AtollError, posixError } from '../../fsnode/protocol/errors.ts'
import { silentLog } from '../../fsnode/protocol/pino-log.ts'
import { SimClock } from '../sim/clock.ts'
import { MemoryVolume } from './memory-volume.ts'

const capacity = 64 * 1024

describe('fuse journal: ring', () => {
  type Step = { allocate: number } | { settle: number }
  const steps = fc.array(fc.oneof(
    fc.record({ allocate: fc.integer({ min: 1, max: 60 }) }),
    fc.record({ settle: fc.nat(1000) })
  ), { maxLength: 200 })

  it('a record is overwritten from its first byte on: who finds that untouched finds all of it', () => {
    fc.assert(fc.property(steps, (sequence: Step[]) => {
      const ring = new Ring({ capacity: 100 })
      let whole: { sequence: number, position: number, length: number }[] = []
      const live: number[] = []
      for (const step of sequence) {
        if ('settle' in step) {
          if (live.length > 0) ring.settle(live.splice(step.settle % live.length, 1)[0]!)
          continue
        }
        const record = ring.allocate(step.allocate)
        if (record === null) continue
        const overwritten = whole.filter(({ position, length }) => record.position < position + length && position < record.position + record.length)
        for (const { position } of overwritten) expect(record.position).to.be.at.most(position)
        whole = [...whole.filter((other) => !overwritten.includes(other)), record]
        live.push(record.sequence)
      }
    }))
  })

  it('never gives out bytes of a record that is not settled, nor those between it and the oldest (naive twin)', () => {
    fc.assert(fc.property(steps, (sequence: Step[]) => {
      const ring = new Ring({ capacity: 100 })
      /** The twin: who owns each byte. Space comes back in order, so settled ones stay until the older are. */
      const owners = new Array<number | null>(100).fill(null)
      const live: { sequence: number, settled: boolean }[] = []
      for (const step of sequence) {
        if ('allocate' in step) {
          const record = ring.allocate(step.allocate)
          if (record === null) continue
          for (let at = record.position; at < record.position + record.length; at++) {
            expect(at).to.be.below(100)
            expect(owners[at], 'a byte that is in use').to.equal(null)
            owners[at] = record.sequence
          }
          live.push({ sequence: record.sequence, settled: false })
        } else if (live.length > 0) {
          const chosen = live[step.settle % live.length]!
          expect(ring.settle(chosen.sequence) !== null).to.equal(!chosen.settled)
          chosen.settled = true
          while (live[0]?.settled === true) {
            const gone = live.shift()!.sequence
            for (let at = 0; at < 100; at++) if (owners[at] === gone) owners[at] = null
          }
        }
        expect(ring.oldest?.sequence ?? null).to.equal(live[0]?.sequence ?? null)
        expect(ring.size).to.equal(live.length)
      }
    }))
  })

  it('an empty ring takes a record of its whole capacity, wherever it stands, and no more', () => {
    const ring = new Ring({ capacity: 100 })
    ring.settle(ring.allocate(60)!.sequence)
    expect(ring.allocate(101)).to.equal(null)
    expect(ring.allocate(100)).to.include({ position: 0, sequence: 2 })
    expect(ring.allocate(1)).to.equal(null)
  })

  it('settling what is unknown or settled does nothing', () => {
    const ring = new Ring({ capacity: 100 })
    const { sequence } = ring.allocate(10)!
    expect(ring.settle(99)).to.equal(null)
    expect(ring.settle(sequence)).to.include({ sequence })
    expect(ring.settle(sequence)).to.equal(null)
  })
})

describe('fuse journal: file', () => {
  let directory: string
  let path: string
  const open: FileJournal[] = []
  const start = (): FileJournal => {
    const journal = FileJournal.open(path, capacity)
    open.push(journal)
    return journal
  }
  const plain = (writes: readonly RecoveredWrite[]): [number, number, string][] => writes.map(({ ino, offset, data }) => [ino, offset, data.toString()])

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'atoll-journal-'))
    path = join(directory, 'journal')
  })
  afterEach(() => {
    for (const journal of open.splice(0)) journal.close()
    rmSync(directory, { recursive: true })
  })

  it('a successor finds what was not settled, oldest first', () => {
    const journal = start()
    journal.record(5, 100, [Buffer.from('ab'), Buffer.from('cd')])
    const second = journal.record(6, 0, [Buffer.from('x')])
    journal.record(5, 104, [Buffer.from('ef')])
    journal.settle(second)
    expect(plain(start().recover())).to.deep.equal([[5, 100, 'abcd'], [5, 104, 'ef']])
  })

  it('and in which session each was written', () => {
    const journal = start()
    journal.record(5, 2 ** 52, [Buffer.from('a')])
    journal.record(5, 0, [Buffer.from('b')], 1)
    journal.record(6, 0, [Buffer.from('c')], 70_000)
    expect(start().recover().map(({ ino, offset, generation }) => [ino, offset, generation])).to.deep.equal([[5, 2 ** 52, 0], [5, 0, 1], [6, 0, 70_000]])
  })

  it('what a later settled write has replaced is not brought back', () => {
    const journal = start()
    journal.record(5, 0, [Buffer.from('oldoldold')])
    journal.settle(journal.record(5, 3, [Buffer.from('NEW')]))
    journal.settle(journal.record(7, 0, [Buffer.from('oldoldold')]))
    expect(plain(start().recover())).to.deep.equal([[5, 0, 'old'], [5, 6, 'old']])
  })

  it('a record that was replaced as a whole is settled, and frees its room', () => {
    const journal = start()
    journal.record(5, 0, [Buffer.from('old')])
    journal.settle(journal.record(5, 0, [Buffer.from('newer')]))
    const successor = start()
    expect([plain(successor.recover()), successor.waiting]).to.deep.equal([[], 0])
    successor.record(6, 0, [Buffer.from('next')])
    expect(plain(start().recover())).to.deep.equal([[6, 0, 'next']])
  })

  it('a record that was cut short is none, and the next takes its place', () => {
    const journal = start()
    journal.record(5, 0, [Buffer.from('whole')])
    journal.record(5, 5, [Buffer.from('torn'.repeat(100))])
    // As when the writer is killed in the middle: the trailer never came.
    const at = 4096 + (56 + 5 + 16) + 56 + 200
    const fd = openSync(path, 'r+')
    writeSync(fd, Buffer.alloc(1000), 0, 1000, at)
    closeSync(fd)
    const successor = start()
    expect(plain(successor.recover())).to.deep.equal([[5, 0, 'whole']])
    successor.record(5, 5, [Buffer.from('again')])
    expect(plain(start().recover())).to.deep.equal([[5, 0, 'whole'], [5, 5, 'again']])
  })

  it('tells by which operation a write was made', () => {
    const journal = start()
    journal.record(5, 7, [Buffer.from('known')], 2, 2 ** 51 + 4)
    journal.record(5, 12, [Buffer.from('not')])
    expect(start().recover().map(({ offset, generation, operationId }) => [offset, generation, operationId])).to.deep.equal([[7, 2, 2 ** 51 + 4], [12, 0, undefined]])
  })

  it('is full with ATOLL_JOURNAL_FULL, and takes more when the oldest is settled', () => {
    const journal = start()
    const data = Buffer.alloc(16 * 1024 - 72, 1)
    const tokens = [1, 2, 3, 4].map((ino) => journal.record(ino, 0, [data]))
    expect(() => journal.record(5, 0, [data])).to.throw().with.property('code', 'ATOLL_JOURNAL_FULL')
    journal.settle(tokens[1]!)
    expect(() => journal.record(5, 0, [data])).to.throw()
    journal.settle(tokens[0]!)
    journal.record(5, 0, [data.subarray(1)])
    expect(start().recover().map(({ ino }) => ino)).to.deep.equal([3, 4, 5])
  })

  it('whatever was recorded and settled, a successor at any point finds exactly the rest (naive twin)', () => {
    const actions = fc.array(fc.record({
      ino: fc.integer({ min: 1, max: 3 }), offset: fc.nat(64), length: fc.integer({ min: 1, max: 9000 }), settle: fc.nat(7), reopen: fc.nat(9)
    }), { minLength: 1, maxLength: 40 })
    fc.assert(fc.property(actions, (all) => {
      rmSync(path, { force: true })
      let journal = start()
      /** Content by inode as the unsettled and settled writes leave it, in order. */
      const live: { token: number, ino: number, offset: number, data: Buffer, settled: boolean }[] = []
      all.forEach(({ ino, offset, length, settle, reopen }, index) => {
        const data = Buffer.alloc(length, index + 1)
        try {
          live.push({ token: journal.record(ino, offset, [data]), ino, offset, data, settled: false })
        } catch {
          const first = live.find((write) => !write.settled)!
          journal.settle(first.token)
          first.settled = true
        }
        const chosen = live[live.length - 1 - settle]
        if (chosen !== undefined && !chosen.settled) {
          journal.settle(chosen.token)
          chosen.settled = true
        }
        if (reopen === 0) journal = start()
      })
      const expected = new Map<string, number>()
      for (const { ino, offset, data, settled } of live) {
        for (let at = 0; at < data.length; at++) {
          if (settled) expected.delete(`${ino} ${offset + at}`)
          else expected.set(`${ino} ${offset + at}`, data[at]!)
        }
      }
      const found = new Map<string, number>()
      for (const { ino, offset, data } of start().recover()) for (let at = 0; at < data.length; at++) found.set(`${ino} ${offset + at}`, data[at]!)
      expect(found.size).to.equal(expected.size)
      for (const [key, value] of expected) expect(found.get(key), key).to.equal(value)
      for (const journal of open.splice(0)) journal.close()
    }), { numRuns: 30 })
  })

  it('damage gives fewer records, never an exception and never invented bytes', () => {
    const journal = start()
    for (let index = 0; index < 5; index++) journal.record(9, index * 100, [Buffer.alloc(100, index)])
    const good = plain(journal.recover())
    expect(good).to.deep.equal([])
    const copy = join(directory, 'damaged')
    fc.assert(fc.property(fc.nat(4096 + 1000), fc.nat(255), (at, byte) => {
      copyFileSync(path, copy)
      const fd = openSync(copy, 'r+')
      writeSync(fd, Buffer.from([byte]), 0, 1, at)
      closeSync(fd)
      try {
        const damaged = FileJournal.open(copy, capacity)
        open.push(damaged)
        expect(damaged.recover().length).to.be.at.most(5)
      } catch (error) {
        expect(error).to.have.property('code', 'ATOLL_BAD_JOURNAL')
      }
    }), { numRuns: 100 })
  })

  it('a file that is something else is refused and left alone', () => {
    writeFileSync(path, 'not a journal '.repeat(1000))
    expect(() => start()).to.throw().with.property('code', 'ATOLL_BAD_JOURNAL')
    expect(readFileSync(path, 'utf8')).to.equal('not a journal '.repeat(1000))
  })

  it('one whose maker died before it was done is empty', () => {
    appendFileSync(path, '')
    truncateSync(path, 4096 + 100_000)
    const journal = start()
    expect(journal.recover()).to.deep.equal([])
    journal.record(1, 2, [Buffer.from('three')])
    expect(plain(start().recover())).to.deep.equal([[1, 2, 'three']])
  })

  it('what is left of an extent', () => {
    expect(subtract({ from: 0, to: 10 }, [{ from: 2, to: 4 }, { from: 3, to: 6 }, { from: 9, to: 20 }])).to.deep.equal([{ from: 0, to: 2 }, { from: 6, to: 9 }])
    expect(subtract({ from: 0, to: 10 }, [{ from: 0, to: 10 }])).to.deep.equal([])
  })
})

describe('fuse journal: replay', () => {
  const writes = (...all: [number, number, string][]): RecoveredWrite[] => all.map(([ino, offset, data], index) => ({ token: index + 1, ino, offset, data: Buffer.from(data) }))

  async function volumeWithFile (): Promise<{ volume: MemoryVolume, ino: number }> {
    const volume = new MemoryVolume({ clock: new SimClock() })
    const { attr } = await volume.create(1, 'file', { mode: 0o644, exclusive: true }, { uid: 0, gid: 0 })
    return { volume, ino: attr.ino }
  }

  it('writes in order, settles, and passes over files that are gone', async () => {
    const { volume, ino } = await volumeWithFile()
    const settled: number[] = []
    const lost = await replay(volume, { recover: () => writes([ino, 0, 'aaaa'], [99, 0, 'gone'], [ino, 2, 'bb']), settle: (token) => { settled.push(token) } }, silentLog)
    expect(volume.readAt(ino, 0, 10).toString()).to.equal('aabb')
    expect(settled.sort()).to.deep.equal([1, 2, 3])
    expect(lost.size).to.equal(0)
  })

  it('a failure for good is kept for the next fsync of that file only', async () => {
    const { volume, ino } = await volumeWithFile()
    const second = (await volume.create(1, 'other', { mode: 0o644, exclusive: true }, { uid: 0, gid: 0 })).attr.ino
    const open = volume.open.bind(volume)
    volume.open = async (which, options) => {
      if (which === ino) throw posixError('ENOSPC')
      return await open(which, options)
    }
    const lost = await replay(volume, { recover: () => writes([ino, 0, 'a'], [second, 0, 'b']), settle: () => {} }, silentLog)
    expect([...lost.keys()]).to.deep.equal([ino])
    expect(volume.readAt(second, 0, 1).toString()).to.equal('b')
  })

  it('when the nodes cannot be reached nothing is settled, and it is to be done again', async () => {
    const { volume, ino } = await volumeWithFile()
    volume.open = () => Promise.reject(new AtollError('ATOLL_UNAVAILABLE', 'no quorum'))
    const settled: number[] = []
    const outcome = await replay(volume, { recover: () => writes([ino, 0, 'a']), settle: (token) => { settled.push(token) } }, silentLog).catch((error: AtollError) => error.code)
    expect(outcome).to.equal('ATOLL_UNAVAILABLE')
    expect(settled).to.deep.equal([])
  })
})

describe('fuse restarts', () => {
  it('the first is at once, the following wait ever longer up to a bound', () => {
    expect([1, 2, 3, 4].map(restartDelayMs)).to.deep.equal([0, 100, 200, 400])
    expect(restartDelayMs(50)).to.equal(restartDelayMsMax)
  })
})
