import { expect } from 'chai'
import type { RaftMessage } from '../../fsnode/raft/core/types.ts'
import { Primaries } from './checkers/primaries.ts'
import { RaftLeaders } from './checkers/raft-leaders.ts'
import { checkRegisters } from './checkers/registers.ts'
import { checkSizes } from './checkers/sizes.ts'
import { Survivors } from './checkers/survivors.ts'
import { checkTree } from './checkers/tree.ts'
import { History, type Call, type Operation, type Outcome, type Result } from './history.ts'
import { linearize, type Step } from './linearize.ts'
import type { SimNode } from './node.ts'
import type { ClusterMap } from '../../partitioning/types.ts'

/** A history told in few words. */
class Story {
  readonly history = new History()

  begin (call: Call, client = 'a'): Operation { return this.history.begin(client, call, 0) }

  end (operation: Operation, result: Result = {}, outcome: Outcome = 'well', code?: string): void { this.history.end(operation, outcome, result, code) }

  did (call: Call, result: Result = {}, client = 'a'): Operation {
    const operation = this.begin(call, client)
    this.end(operation, result)
    return operation
  }

  refused (call: Call, code: string): void { this.end(this.begin(call), {}, 'refused', code) }

  write (cell = 0, client = 'a'): Operation { return this.did({ kind: 'write', ino: 5, cell, cells: 1 }, {}, client) }

  read (value: number, cell = 0): void { this.did({ kind: 'read', ino: 5, cell, cells: 1 }, { size: 512, values: [value] }) }

  get treeIsSound (): boolean { return checkTree(this.history).faults.length === 0 }

  get registersAreSound (): boolean { return checkRegisters(this.history).faults.length === 0 }

  get sizesAreSound (): boolean { return checkSizes(this.history).faults.length === 0 }
}

describe('the checkers of the simulation', () => {
  let story: Story
  beforeEach(() => { story = new Story() })

  describe('linearize', () => {
    const step = (invoked: number, returned: number, before: number, after: number): Step<number> => ({ invoked, returned, apply: (state) => state === before ? [after] : [] })
    const check = (...steps: Array<Step<number>>): string => linearize(0, steps, String, 1_000).outcome

    it('finds an order for steps that overlap, in whatever order they ended', () => {
      expect(check(step(1, 6, 2, 3), step(2, 5, 1, 2), step(3, 4, 0, 1))).to.equal('linearizable')
    })

    it('does not let a step take effect before it began or after it ended', () => {
      expect(check(step(1, 2, 1, 2), step(3, 4, 0, 1))).to.equal('violation')
    })

    it('leaves out or places late a step of which nobody saw the end', () => {
      expect(check(step(1, Infinity, 7, 8), step(3, 4, 0, 1))).to.equal('linearizable')
      expect(check(step(1, Infinity, 1, 2), step(3, 4, 0, 1), step(5, 6, 2, 3))).to.equal('linearizable')
    })
  })

  describe('the tree', () => {
    const file: Call = { kind: 'create', dir: 1, name: 'f', exclusive: true }

    it('an acknowledged name may not be missing, nor come back', () => {
      story.did(file, { ino: 5, created: true })
      story.did({ kind: 'readdir', dir: 1 }, { entries: [{ name: 'f', ino: 5, directory: false }] })
      expect(story.treeIsSound).to.equal(true)
      story.did({ kind: 'unlink', dir: 1, name: 'f' })
      story.refused({ kind: 'lookup', dir: 1, name: 'f' }, 'ENOENT')
      expect(story.treeIsSound).to.equal(true)
      story.did({ kind: 'readdir', dir: 1 }, { entries: [{ name: 'f', ino: 5, directory: false }] })
      expect(story.treeIsSound).to.equal(false)
    })

    it('a creation of unknown outcome is there or not, but not there and then not', () => {
      story.begin(file, 'crashed')
      story.refused({ kind: 'lookup', dir: 1, name: 'f' }, 'ENOENT')
      expect(story.treeIsSound).to.equal(true)
      story.did({ kind: 'lookup', dir: 1, name: 'f' }, { ino: 9, directory: false, nlink: 1 })
      expect(story.treeIsSound).to.equal(true)
      story.refused({ kind: 'lookup', dir: 1, name: 'f' }, 'ENOENT')
      expect(story.treeIsSound).to.equal(false)
    })

    it('what was made and is not certain has the number that was told, if it is there', () => {
      const made = story.did({ kind: 'mkdir', dir: 1, name: 'd' }, { ino: 2 })
      story.history.doubt(made)
      expect(made.outcome).to.equal('unknown')
      story.did({ kind: 'create', dir: 2, name: 'f', exclusive: true }, { ino: 5, created: true })
      expect(story.treeIsSound).to.equal(true)
      story.did({ kind: 'lookup', dir: 1, name: 'd' }, { ino: 3, directory: true, nlink: 2 })
      expect(story.treeIsSound).to.equal(false)
    })

    it('a rename moves a name from one place to the other at one moment', () => {
      story.did({ kind: 'mkdir', dir: 1, name: 'd' }, { ino: 2 })
      story.did(file, { ino: 5, created: true })
      const rename = story.begin({ kind: 'rename', dir: 1, name: 'f', newDir: 2, newName: 'g', flags: 0 }, 'b')
      story.did({ kind: 'readdir', dir: 2 }, { entries: [{ name: 'g', ino: 5, directory: false }] })
      story.did({ kind: 'lookup', dir: 1, name: 'f' }, { ino: 5, directory: false, nlink: 1 })
      story.end(rename)
      expect(story.treeIsSound).to.equal(false)
    })

    it('link counts, kinds of inodes and refusals count', () => {
      story.did(file, { ino: 5, created: true })
      story.did({ kind: 'link', ino: 5, dir: 1, name: 'g' })
      story.did({ kind: 'getattr', ino: 5 }, { nlink: 2, directory: false })
      story.refused({ kind: 'rmdir', dir: 1, name: 'f' }, 'ENOTDIR')
      expect(story.treeIsSound).to.equal(true)
      story.refused({ kind: 'unlink', dir: 1, name: 'f' }, 'ENOENT')
      expect(story.treeIsSound).to.equal(false)
    })

    it('a directory never gets below itself', () => {
      story.did({ kind: 'mkdir', dir: 1, name: 'd' }, { ino: 2 })
      story.did({ kind: 'mkdir', dir: 2, name: 'e' }, { ino: 3 })
      story.refused({ kind: 'rename', dir: 1, name: 'd', newDir: 3, newName: 'x', flags: 0 }, 'EINVAL')
      expect(story.treeIsSound).to.equal(true)
      story.did({ kind: 'rename', dir: 1, name: 'd', newDir: 3, newName: 'x', flags: 0 })
      expect(story.treeIsSound).to.equal(false)
    })
  })

  describe('the registers', () => {
    it('a read sees the last acknowledged write, on whichever client', () => {
      const first = story.write()
      const second = story.write(0, 'b')
      story.read(second.id)
      expect(story.registersAreSound).to.equal(true)
      story.read(first.id)
      expect(story.registersAreSound).to.equal(false)
    })

    it('bytes that nobody wrote are zeros', () => {
      story.read(0)
      expect(story.registersAreSound).to.equal(true)
      story.read(-1)
      expect(story.registersAreSound).to.equal(false)
    })

    it('a write that a crashed client had not flushed may be lost, with what that client saw of it; a flushed one may not', () => {
      const lost = story.write()
      story.read(lost.id)
      story.history.doubt(lost)
      story.did({ kind: 'read', ino: 5, cell: 0, cells: 1 }, { values: [0] }, 'b')
      expect(story.registersAreSound).to.equal(true)
      story.write(0, 'b')
      story.did({ kind: 'read', ino: 5, cell: 0, cells: 1 }, { values: [0] }, 'b')
      expect(story.registersAreSound).to.equal(false)
    })

    it('who was told that a write failed may see it until it is given up, or a sync goes well; nobody else', () => {
      const seenBy = (client: string, value: number): void => { story.did({ kind: 'read', ino: 5, cell: 0, cells: 1 }, { values: [value] }, client) }
      const failed = story.write()
      story.history.doubt(failed)
      seenBy('a', failed.id)
      seenBy('b', 0)
      expect(story.registersAreSound).to.equal(true)
      story.did({ kind: 'sync', ino: 5 })
      seenBy('a', failed.id)
      seenBy('b', 0)
      expect(story.registersAreSound).to.equal(false)
    })

    it('what a truncation cut does not come back', () => {
      const written = story.write(3)
      story.did({ kind: 'truncate', ino: 5, cells: 2 })
      story.read(written.id, 3)
      expect(story.registersAreSound).to.equal(false)
    })

    it('a loss of all power may undo what was not synced by who wrote it, and nothing else', () => {
      const synced = story.write()
      story.did({ kind: 'sync', ino: 5 })
      story.write()
      story.history.powerLoss()
      story.read(synced.id)
      expect(story.registersAreSound).to.equal(true)
      story.end(story.begin({ kind: 'sync', ino: 5 }), {}, 'unknown', 'EIO')
      story.did({ kind: 'sync', ino: 5 })
      expect(story.registersAreSound).to.equal(true)
      story.history.powerLoss()
      story.read(0)
      expect(story.registersAreSound).to.equal(false)
    })

    it('a sync that succeeds though all power was lost before it counts for what its process wrote', () => {
      story.write(0, 'b')
      story.history.powerLoss()
      story.read(0)
      story.did({ kind: 'sync', ino: 5 })
      expect(story.registersAreSound).to.equal(true)
      story.did({ kind: 'sync', ino: 5 }, {}, 'b')
      expect(story.registersAreSound).to.equal(false)
    })
  })

  it('sizes: writes extend, truncations set, a failed write may have done either', () => {
    story.write(2)
    story.did({ kind: 'getattr', ino: 5 }, { directory: false, size: 1_536, nlink: 1 })
    story.did({ kind: 'truncate', ino: 5, cells: 1 })
    story.end(story.begin({ kind: 'write', ino: 5, cell: 9, cells: 1 }), {}, 'partial', 'ENOSPC')
    story.did({ kind: 'getattr', ino: 5 }, { directory: false, size: 512, nlink: 1 })
    expect(story.sizesAreSound).to.equal(true)
    story.did({ kind: 'getattr', ino: 5 }, { directory: false, size: 1_536, nlink: 1 })
    expect(story.sizesAreSound).to.equal(false)
  })

  it('Raft: two that lead in one term are found, also when one of them only heartbeats', () => {
    const found: string[] = []
    const leaders = new RaftLeaders((what) => { found.push(what) })
    const append: RaftMessage = { type: 'append', term: 3, prevIndex: 0, prevTerm: 0, commitIndex: 0, stamp: 0, round: 0, entries: [] }
    leaders.sent('x', 'g', append)
    leaders.sent('x', 'g', append)
    leaders.sent('y', 'h', append)
    leaders.sent('y', 'g', { ...append, term: 4 })
    leaders.sent('y', 'g', { type: 'vote', term: 3, pre: false, transfer: false, lastIndex: 0, lastTerm: 0 })
    expect(found).to.deep.equal([])
    leaders.sent('y', 'g', append)
    expect(found).to.have.length(1)
  })

  it('primaries: two leases on one partition are found, whatever epochs their holders know', () => {
    const node = (id: string, primary: string, valid: boolean, epoch: number): SimNode =>
      ({ id, running: { agent: { leaseValid: () => valid }, router: { mapVersion: epoch, map: { data: [{ id: '1.d.0', epoch, primary }] } } } }) as unknown as SimNode
    const found = (...nodes: SimNode[]): number => {
      let count = 0
      new Primaries(nodes, () => { count++ }).check()
      return count
    }
    expect(found(node('a', 'a', true, 1), node('b', 'a', true, 1))).to.equal(0)
    expect(found(node('a', 'a', false, 1), node('b', 'b', true, 2))).to.equal(0)
    expect(found(node('a', 'a', true, 1), node('b', 'b', true, 2))).to.equal(1)
  })

  it('survivors: data may be lost only when the power of every replica in sync has failed', () => {
    let losses = 0
    const survivors = new Survivors(() => { losses++ })
    const learn = (version: number, ...states: string[]): void => {
      const replicas = states.map((state, at) => ({ node: 'abc'[at], state }))
      survivors.learned({ version, data: [{ id: '1.d.0', replicas }] } as unknown as ClusterMap)
    }
    learn(1, 'serving', 'serving', 'offline')
    survivors.powerFailed('c')
    survivors.powerFailed('a')
    expect(losses).to.equal(0)
    learn(2, 'offline', 'serving', 'offline')
    learn(3, 'serving', 'serving', 'offline')
    survivors.powerFailed('b')
    expect(losses).to.equal(0)
    survivors.powerFailed('a')
    expect(losses).to.equal(1)
    learn(4, 'last', 'last', 'offline')
    survivors.powerFailed('b')
    expect(losses).to.equal(1)
    survivors.powerFailed('a')
    expect(losses).to.equal(2)
  })
})
