import { expect } from 'chai'
import { encodeChange, packChanges, type Change } from '../../fsnode/protocol/changes.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { homeOfRootChild } from '../../partitioning/directory-homes.ts'
import { fsck } from './fsck.ts'
import { Cluster, type TestClient } from './harness.ts'

const partitions = 3
const directory = 0o040755
const noReplace = 1
const exchange = 2

function packed (...changes: Change[]): Buffer { return packChanges(changes.map(encodeChange)) }

describe('operations across partitions and what the holder of an exclusive lease decides', () => {
  let cluster: Cluster
  /** Holds `dir` exclusively, with the file `f` in it. */
  let a: TestClient
  let b: TestClient
  /** In partition 1. */
  let from: number
  /** In partition 2. */
  let dir: number
  let file: number
  /** What `b` moves. */
  let source: number

  beforeEach(async () => {
    cluster = await Cluster.open({ partitions, replicas: 2 })
    a = await cluster.client('a')
    b = await cluster.client('b')
    from = (await b.create(1, nameIn(1), { mode: directory })).attr.ino
    dir = (await b.create(1, nameIn(2), { mode: directory })).attr.ino
    source = (await b.create(from, 'source', { index: 1 })).attr.ino
    file = (await a.create(dir, 'f', { index: 2, lease: 'exclusive' })).attr.ino
    await a.call('meta.lease', { ino: dir, mode: 'exclusive' }, 2)
  })

  afterEach(async () => {
    await settled()
    expect(await fsck(cluster)).to.deep.equal([])
  })

  function nameIn (index: number, prefix = 'd'): string {
    for (let at = 0; ; at++) if (homeOfRootChild(`${prefix}${at}`, partitions) === index) return `${prefix}${at}`
  }

  /** The holder was told that these have happened, and sends them when it is asked to give something up. */
  function decides (...changes: Change[]): () => Promise<void> {
    let sent: Promise<void> | null = null
    a.onRecall = () => (sent ??= a.start('meta.changes', { first: 1 }, 2, [packed(...changes)]).then(() => {}))
    return () => a.onRecall(null as never)
  }

  function rename (flags: number, newName: string): Promise<string> {
    return b.code(b.persist('meta.rename', { dir: from, name: 'source', newDir: dir, newName, flags, open: false }, 1))
  }

  /** The next leader of partition 2 knows of no lease until it is told. */
  function elect (): void {
    const log = cluster.logs[2]!
    log.elect(log.members.find(({ status }) => status.role !== 'leader')!)
  }

  /** The holder says what it holds when others have waited for a while, and only then what it decided. */
  async function claimsLate (...changes: Change[]): Promise<void> {
    await new Promise<void>((resolve) => { cluster.clock.setTimer(resolve, 400) })
    const send = decides(...changes)
    await b.persist('meta.claim', { shared: [], exclusive: [] }, 2)
    await a.persist('meta.claim', { shared: [], exclusive: [dir, file] }, 2)
    await send()
  }

  async function settled (): Promise<void> {
    await cluster.clock.until(() => [0, 1, 2].every((index) => [...cluster.leader(index).machine.store.transactions.all.values()].every(({ state }) => state === 'done')), 60_000, 'the end of all transactions')
  }

  async function number (): Promise<number> { return (await a.call('meta.inodes', { count: 4 }, 2)).first }

  it('a name that the holder was told is gone is in nobody\'s way in another partition', async () => {
    decides(['unlink', 5n, dir, 'f', file])
    expect(await cluster.clock.run(rename(noReplace, 'f'))).to.equal('well')
    expect((await a.call('meta.lookup', { dir, name: 'f' }, 2)).ino).to.equal(source)
  })

  it('a name that the holder was told is there is found from another partition', async () => {
    const made = await number()
    decides(['create', 5n, dir, 'made', made, 0o100644, 3, 4, 0, null])
    expect(await cluster.clock.run(rename(exchange, 'made'))).to.equal('well')
    expect((await a.call('meta.lookup', { dir: from, name: 'source' }, 1)).ino).to.equal(made)
  })

  it('nor is either taken from a leader that has not heard yet who holds what', async () => {
    elect()
    const [code] = await cluster.clock.run(Promise.all([rename(noReplace, 'f'), claimsLate(['unlink', 5n, dir, 'f', file])]))
    expect(code).to.equal('well')
    expect((await a.call('meta.lookup', { dir, name: 'f' }, 2)).ino).to.equal(source)
  })

  it('a new leader prepares nothing before it has heard who holds what', async () => {
    const made = await number()
    elect()
    const changes: Change[] = [['unlink', 5n, dir, 'f', file], ['create', 5n, dir, 'made', made, 0o100644, 3, 4, 0, null]]
    const [linked, moved] = await cluster.clock.run(Promise.all([
      b.code(b.persist('meta.link', { ino: file, dir: from, name: 'l' }, 1)), rename(0, 'made'), claimsLate(...changes)
    ]))
    expect(linked).to.equal('ENOENT')
    expect(moved).to.equal('well')
    expect(await b.code(b.call('meta.getattr', { ino: made }, 2))).to.equal('ENOENT')
    expect((await b.call('meta.getattr', { ino: dir }, 2)).attr.nlink).to.equal(2)
  })

  it('nor what a session decides of what its own operation is about to change: as the next process of a mount may', async () => {
    await b.call('meta.lease', { ino: from, mode: 'exclusive' }, 1)
    await b.call('meta.lease', { ino: source, mode: 'exclusive' }, 1)
    a.onRecall = ({ names }) => names === undefined ? Promise.resolve() : new Promise((resolve) => { cluster.clock.setTimer(resolve, 300) })
    const moved = b.code(b.start('meta.rename', { dir: from, name: 'source', newDir: dir, newName: 'moved', flags: 0, open: false }, 1))
    await cluster.clock.advance(100)
    const { failed } = await b.call('meta.changes', { first: 1 }, 1, [packed(['unlink', 5n, from, 'source', source])])
    expect(failed).to.deep.equal([[1, 'ENOENT']])
    expect(await cluster.clock.run(moved)).to.equal('well')
    expect((await a.call('meta.lookup', { dir, name: 'moved' }, 2)).ino).to.equal(source)
  })

  describe('what was decided for another partition, which cannot be told of it yet,', () => {
    let isAway: boolean

    beforeEach(async () => {
      isAway = true
      cluster.onTransaction = ({ step }) => { if (isAway && (step === 'commit' || step === 'outcome')) throw new AtollError('ATOLL_UNAVAILABLE', 'away') }
      expect(await cluster.clock.run(rename(0, 'moved'))).to.equal('well')
      for (const index of [0, 1, 2]) for (const client of [a, b]) await client.call('meta.renew', {}, index)
      cluster.clock.setTimer(() => { isAway = false }, 2_500)
    })

    it('counts for what comes after there', async () => {
      expect(await b.code(b.call('meta.rename', { dir, name: 'moved', newDir: from, newName: 'back', flags: 0, open: false }, 2))).to.equal('well')
      expect((await b.call('meta.lookup', { dir: from, name: 'back' }, 1)).ino).to.equal(source)
    })

    it('nor is a directory that was made there missing for who asks for it again', async () => {
      const request = { dir: 1, name: nameIn(2, 'e'), mode: directory, exclusive: true, lease: 'shared' as const, caller: { uid: 1, gid: 1 }, op: 900 }
      isAway = true
      const { attr } = await b.call('meta.create', request)
      expect((await b.call('meta.create', request)).attr).to.deep.equal(attr)
    })

    it('and for what comes after from elsewhere', async () => {
      const other = (await b.create(from, 'other', { index: 1 })).attr.ino
      expect(await b.code(b.call('meta.rename', { dir: from, name: 'other', newDir: dir, newName: 'moved', flags: exchange, open: false }, 1))).to.equal('well')
      expect((await b.call('meta.lookup', { dir, name: 'moved' }, 2)).ino).to.equal(other)
    })
  })
})
