import { expect } from 'chai'
import { encodeChange, packChanges, unpackChanges, type Change } from '../../fsnode/protocol/changes.ts'
import { inodesPerRequestMax } from '../../fsnode/metadata/constants.ts'
import { streamOperation } from '../../fsnode/metadata/command.ts'
import type { Outcome } from '../../fsnode/metadata/types.ts'
import { Cluster, Replica, type TestClient } from './harness.ts'

function packed (...changes: Change[]): Buffer { return packChanges(changes.map(encodeChange)) }

function made (ino: number, name: string, dir = 1): Change { return ['create', 5n, dir, name, ino, 0o100644, 3, 4, 0, null] }

describe('a session\'s own changes', () => {
  describe('in the state machine', () => {
    let replica: Replica
    let first: number
    beforeEach(async () => {
      replica = await Replica.formatted()
      first = replica.run('allocate-inodes', { count: 10 }, 's', 1).ino!
    })

    function apply (sequence: number, ...changes: Change[]): Outcome {
      return replica.run('changes', { first: sequence, changes: packed(...changes), holders: [] }, 's', streamOperation)
    }

    it('happen in their order, at the time at which they were decided', () => {
      expect(apply(1, made(first, 'a'), ['rename', 6n, 1, 'a', 1, 'b', first, 0], ['commit', 7n, first, 3, 8n, Buffer.from('abc')])).to.deep.equal({ failed: [] })
      const { store } = replica.machine
      expect(store.entry(1, 'a')).to.equal(undefined)
      expect(store.entry(1, 'b')).to.deep.include({ ino: first })
      expect(store.inodes.get(first)).to.deep.include({ size: 3, mtime: 8n, ctime: 7n, uid: 3, gid: 4, version: 3 })
    })

    it('happen once, however often and in whatever pieces they come', () => {
      apply(1, made(first, 'a'), made(first + 1, 'b'))
      const before = replica.machine.store.inodes.get(1)!.version
      expect(apply(1, made(first, 'a'), made(first + 1, 'b'))).to.deep.equal({ failed: [] })
      expect(replica.machine.store.inodes.get(1)!.version).to.equal(before)
      expect(apply(2, made(first + 1, 'b'), ['unlink', 6n, 1, 'a', first])).to.deep.equal({ failed: [] })
      expect(replica.machine.store.inodes.get(1)!.version).to.equal(before + 1)
    })

    it('are refused when one before them is missing', () => {
      expect(apply(2, made(first, 'a')).code).to.equal('ATOLL_OUT_OF_ORDER')
      expect(replica.machine.store.entry(1, 'a')).to.equal(undefined)
    })

    it('one that fails is told, again too, and leaves the others as they are', () => {
      const failed = { failed: [[2, 'EEXIST']] }
      expect(apply(1, made(first, 'a'), made(first, 'twice'), made(first + 1, 'b'))).to.deep.equal(failed)
      expect(apply(1, made(first, 'a'), made(first, 'twice'), made(first + 1, 'b'))).to.deep.equal(failed)
      expect(replica.machine.store.entry(1, 'twice')).to.equal(undefined)
      expect(replica.machine.store.entry(1, 'b')).to.deep.include({ ino: first + 1 })
    })

    it('make only inodes with numbers that were given out and are nobody\'s', () => {
      expect(apply(1, made(first + 10, 'never'), made(1, 'root'), ['create', 5n, 1, 'a', first, 0o100644, 0, 0, 0, null])).to.deep.equal({ failed: [[1, 'EEXIST'], [2, 'EEXIST']] })
      expect(replica.run('create', { dir: 1, name: 'later', mode: 0o100644, uid: 0, gid: 0, exclusive: true }, 's', 9).ino).to.equal(first + 10)
    })

    it('a name that stands for another inode than the session thought is left alone', () => {
      expect(apply(1, made(first, 'a'), ['unlink', 6n, 1, 'a', first + 1], ['rename', 6n, 1, 'a', 1, 'b', first, first + 1])).to.deep.equal({ failed: [[2, 'ENOENT'], [3, 'ENOENT']] })
      expect(replica.machine.store.entry(1, 'a')).to.deep.include({ ino: first })
    })

    it('another session counts for itself', () => {
      replica.run('open-session', { id: 't', client: 'test' })
      apply(1, made(first, 'a'))
      expect(replica.run('changes', { first: 2, changes: packed(made(first + 1, 'b')), holders: [] }, 't', streamOperation).code).to.equal('ATOLL_OUT_OF_ORDER')
      expect(replica.run('changes', { first: 1, changes: packed(made(first + 1, 'b')), holders: [] }, 't', streamOperation)).to.deep.equal({ failed: [] })
    })
  })

  describe('at the leader', () => {
    let cluster: Cluster
    let a: TestClient
    beforeEach(async () => {
      cluster = await Cluster.open()
      a = await cluster.client('a')
    })

    async function code (promise: Promise<unknown>): Promise<string> { return cluster.clock.run(promise.then(() => 'well', (error) => error.code), 60_000) }

    it('are taken from who holds everything exclusively, who then holds what was made', async () => {
      const { first } = await cluster.clock.run(a.start('meta.inodes', { count: 4 }), 60_000)
      await cluster.clock.run(a.start('meta.lease', { ino: 1, mode: 'exclusive' }), 60_000)
      const answer = await cluster.clock.run(a.start('meta.changes', { first: 1 }, 0, [packed(made(first, 'f'), ['setattr', 6n, first, 0o600, null, null, null, null])]), 60_000)
      expect(answer).to.deep.equal({ failed: [] })
      expect(await code(a.start('meta.changes', { first: 3 }, 0, [packed(['link', 7n, 1, 'g', first])]))).to.equal('well')
    })

    it('from who does not, they end the session and change nothing', async () => {
      const { first } = await cluster.clock.run(a.start('meta.inodes', { count: 4 }), 60_000)
      expect(await code(a.start('meta.changes', { first: 1 }, 0, [packed(made(first, 'f'))]))).to.equal('ATOLL_SESSION_EXPIRED')
      const b = await cluster.client('b')
      expect(await code(b.start('meta.lookup', { dir: 1, name: 'f' }))).to.equal('ENOENT')
    })

    it('bytes that are no changes are refused, whatever they are', async () => {
      const good = packed(made(5, 'f'))
      const bad = [
        good.subarray(0, good.length - 1), Buffer.concat([good, Buffer.from([1])]), Buffer.from([255, 255, 255, 255]), packChanges([Buffer.from([0xc1])]),
        packChanges([encodeChange(['toString'] as never)]), packChanges([encodeChange(['unlink', 5n, -1, 'a', 2])]), packChanges([encodeChange(['unlink', 5, 1, 'a', 2] as never)]),
        packChanges([encodeChange(['commit', 5n, 1, 2, 3n, 'text'] as never)]), packChanges([encodeChange(['extent', 5n, 1, 2 ** 60])])
      ]
      for (const bytes of bad) {
        expect(() => unpackChanges(bytes)).to.throw().with.property('code', 'ATOLL_BAD_MESSAGE')
        expect(await code(a.start('meta.changes', { first: 1 }, 0, [bytes]))).to.equal('ATOLL_BAD_MESSAGE')
      }
      expect(await code(a.start('meta.inodes', { count: 0 }))).to.equal('ATOLL_BAD_MESSAGE')
      expect(await code(a.start('meta.inodes', { count: inodesPerRequestMax + 1 }))).to.equal('ATOLL_BAD_MESSAGE')
    })
  })
})
