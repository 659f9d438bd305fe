import { expect } from 'chai'
import { MetadataStateMachine } from '../../fsnode/metadata/state-machine.ts'
import { SimClock } from '../sim/clock.ts'
import { MemoryKv } from '../sim/memory-kv.ts'
import { SimRandom } from '../sim/random.ts'
import { dump, Replica, silent } from './harness.ts'

/** Random commands, most of which do something. */
function history (seed: number, length: number): Replica['log'] {
  const log: Replica['log'] = []
  const random = new SimRandom(seed)
  const recorder = { run: (name: string, args: object, session = '', op = 0) => { log.push({ name, args, session, op } as never) } }
  recorder.run('format', { mode: 0o755, uid: 0, gid: 0 })
  for (const id of ['s', 't']) recorder.run('open-session', { id, client: id })
  for (let op = 1; op <= length; op++) {
    const dir = random.pick([1, 1, 2, 3])
    const name = random.pick(['a', 'b', 'c', 'd', 'e'])
    const ino = 1 + random.below(op)
    const session = random.pick(['s', 't'])
    const [command, args] = random.pick<[string, object]>([
      ['create', { dir, name, mode: random.chance(0.3) ? 0o040755 : 0o100644, uid: 1, gid: 1, exclusive: random.chance(0.5) }],
      ['create', { dir, name, mode: 0o120777, symlink: 'target', uid: 1, gid: 1, exclusive: true }],
      ['unlink', { dir, name, holders: random.chance(0.5) ? [session] : [] }],
      ['rmdir', { dir, name }],
      ['rename', { dir, name, newDir: random.pick([1, 2, 3]), newName: random.pick(['a', 'b', 'c']), flags: random.below(3), holders: [] }],
      ['link', { ino, dir, name }],
      ['setattr', { ino, size: random.below(200), moved: true }],
      ['commit', { ino, size: 4, mtime: 9n, data: Buffer.from('data') }],
      ['extent', { ino, extent: random.below(5_000) }],
      ['commit', { ino, size: random.below(5_000), mtime: 9n }],
      ['begin-truncation', { ino }],
      ['end-truncation', { ino, from: random.below(200) }],
      ['setxattr', { ino, name: `user.${name}`, value: Buffer.from(name), flags: 0 }],
      ['removexattr', { ino, name: `user.${name}` }],
      ['forget', { ino }],
      ['collect', { left: [[ino, 0]] }]
    ])
    recorder.run(command, args, session, op)
    if (random.chance(0.02)) recorder.run('end-session', { id: 't' })
    if (random.chance(0.05)) recorder.run('open-session', { id: 't', client: 't' })
  }
  return log
}

async function applied (seed: number, length: number): Promise<Replica> {
  const replica = await Replica.open()
  for (const { name, args, session, op } of history(seed, length) as never as Array<{ name: 'unlink', args: never, session: string, op: number }>) {
    replica.run(name, args, session, op)
  }
  return replica
}

async function dumpOf (machine: MetadataStateMachine, kv: MemoryKv): Promise<string[]> {
  await machine.flush()
  return dump(kv)
}

describe('a metadata replica\'s store', () => {
  it('is byte for byte the same after the same log, whenever it was written', async () => {
    for (let seed = 1; seed <= 10; seed++) {
      const random = new SimRandom(seed)
      const one = await applied(seed, 300)
      const other = await Replica.open()
      for (const entry of one.log) {
        const result = other.feed(entry)
        expect(result === undefined || typeof result === 'object').to.equal(true)
        if (random.chance(0.05)) await other.machine.flush()
        if (random.chance(0.05)) await other.clock.advance(25)
      }
      await one.machine.flush()
      await other.machine.flush()
      expect(one.dump()).to.deep.equal(other.dump())
      expect(one.machine.store.inodes.get(1)).to.not.equal(undefined)
    }
  })

  it('catches up from its log after losing any part of what was not synced', async () => {
    for (let seed = 1; seed <= 30; seed++) {
      const random = new SimRandom(seed)
      const whole = await applied(seed, 200)
      const expected = await dumpOf(whole.machine, whole.kv)
      const clock = new SimClock()
      let kv = new MemoryKv({ clock })
      let machine = await MetadataStateMachine.open({ kv, clock, log: silent }, { index: 0, inlineBytesMax: 100 })
      for (let at = 0; at < whole.log.length; at++) {
        machine.apply(whole.log[at]!)
        if (random.chance(0.02)) await clock.run(machine.flush())
        if (random.chance(0.1)) await clock.advance(random.below(30))
        if (random.chance(0.02)) {
          const { durableIndex } = machine
          kv.crash(random)
          kv = kv.reopen()
          machine = await MetadataStateMachine.open({ kv, clock, log: silent }, { index: 0, inlineBytesMax: 100 })
          expect(machine.appliedIndex).to.be.at.least(durableIndex)
          for (const entry of whole.log.slice(durableIndex, at + 1)) machine.apply(entry)
        }
      }
      await clock.run(machine.flush())
      expect(dump(kv)).to.deep.equal(expected)
    }
  })

  it('reports as durable only what was synced', async () => {
    const replica = await Replica.formatted()
    expect(replica.machine.durableIndex).to.equal(0)
    await replica.clock.advance(100)
    expect([replica.machine.durableIndex, replica.kv.size > 0]).to.deep.equal([0, true])
    await replica.machine.flush()
    expect(replica.machine.durableIndex).to.equal(2)
  })

  it('keeps serving and tries again when the store refuses writes', async () => {
    const replica = await Replica.formatted()
    replica.kv.failure = new Error('disk full')
    replica.run('create', { dir: 1, name: 'a', mode: 0o100644, uid: 1, gid: 1, exclusive: true })
    await replica.clock.advance(5_000)
    expect(replica.machine.store.entry(1, 'a')).to.not.equal(undefined)
    expect(await replica.machine.flush().then(() => 'well', () => 'failed')).to.equal('failed')
    replica.kv.failure = null
    await replica.clock.advance(2_000)
    const successor = await Replica.open(reopened(replica.kv))
    expect(successor.machine.appliedIndex).to.equal(3)
    expect(successor.machine.store.entry(1, 'a')).to.not.equal(undefined)
  })

  it('remembers answers across restarts, the last 512 of a session', async () => {
    const replica = await Replica.formatted()
    const create = (target: Replica, name: string, op: number) => target.run('create', { dir: 1, name, mode: 0o100644, uid: 1, gid: 1, exclusive: true }, 's', op)
    const answers = Array.from({ length: 600 }, (_, at) => create(replica, `f${at}`, at + 1))
    await replica.machine.flush()
    const successor = await Replica.open(reopened(replica.kv))
    successor.log.push(...replica.log)
    expect(create(successor, 'f599', 600)).to.deep.equal(answers[599])
    expect(create(successor, 'f88', 89)).to.deep.equal(answers[88])
    expect(create(successor, 'f87', 88).code).to.equal('EEXIST')
    await successor.machine.flush()
    expect(successor.dump().filter((line) => line[1] === 'r').length).to.equal(512)
    successor.run('end-session', { id: 's' })
    await successor.machine.flush()
    expect(successor.dump().filter((line) => line[1] === 'r' || line[1] === 's')).to.deep.equal([])
  })

  it('gives a snapshot of one moment while changes go on, and replaces another replica\'s state by it', async () => {
    const source = await applied(3, 300)
    const { machine, log } = source
    const snapshot = await machine.snapshot()
    const expected = await applied(3, 300)
    source.run('create', { dir: 1, name: 'later', mode: 0o100644, uid: 1, gid: 1, exclusive: true })
    await source.machine.flush()
    const target = await applied(4, 100)
    await target.machine.restore(snapshot)
    expect([target.machine.appliedIndex, target.machine.durableIndex]).to.deep.equal([snapshot.index, snapshot.index])
    expect(target.machine.store.entry(1, 'later')).to.equal(undefined)
    await expected.machine.flush()
    expect(withoutGeneration(target.dump())).to.deep.equal(withoutGeneration(expected.dump()))
    for (const entry of log.slice(snapshot.index)) target.machine.apply(entry)
    await target.machine.flush()
    expect(withoutGeneration(target.dump())).to.deep.equal(withoutGeneration(source.dump()))
    const again = await Replica.open(reopened(target.kv))
    expect(again.machine.appliedIndex).to.equal(log.at(-1)!.index)
  })

  it('restores a snapshot however its stream was cut on the way', async () => {
    const source = await applied(3, 300)
    const { chunks, ...position } = await source.machine.snapshot()
    const all: Uint8Array[] = []
    for await (const chunk of chunks) all.push(chunk)
    const bytes = Buffer.concat(all)
    await source.machine.flush()
    for (const pieceBytes of [3, 1_000, bytes.length]) {
      const pieces = Array.from({ length: Math.ceil(bytes.length / pieceBytes) }, (_, at) => bytes.subarray(at * pieceBytes, (at + 1) * pieceBytes))
      const target = await applied(4, 100)
      await target.machine.restore({ ...position, chunks: stream(pieces) })
      await target.machine.flush()
      expect(withoutGeneration(target.dump())).to.deep.equal(withoutGeneration(source.dump()))
    }
  })

  it('keeps its old state when a snapshot ends early or a crash comes in between', async () => {
    const source = await applied(3, 300)
    const target = await applied(4, 100)
    await target.machine.flush()
    const before = target.dump()
    const { chunks, ...position } = await source.machine.snapshot()
    const all: Uint8Array[] = []
    for await (const chunk of chunks) all.push(chunk)
    const cut = { ...position, chunks: stream(all.slice(0, -1)) }
    expect(await target.machine.restore(cut).catch((error: { code: string }) => error.code)).to.equal('ATOLL_BAD_SNAPSHOT')
    expect(target.machine.appliedIndex).to.equal(target.log.length)
    expect(target.run('create', { dir: 1, name: 'new', mode: 0o100644, uid: 1, gid: 1, exclusive: false }).ino).to.be.a('number')
    const hanging = { ...position, chunks: stream(all, 1) }
    void target.machine.restore(hanging).catch(() => {})
    await target.clock.advance(10)
    target.kv.kill()
    const survivor = await Replica.open(target.kv.reopen())
    expect(survivor.machine.appliedIndex).to.equal(target.log.length)
    expect(before.length).to.be.greaterThan(0)
  })
})

async function * stream (chunks: Uint8Array[], hangAfter = Infinity): AsyncIterable<Uint8Array> {
  for (const [at, chunk] of chunks.entries()) {
    if (at >= hangAfter) await new Promise(() => {})
    yield chunk
  }
}

function withoutGeneration (lines: string[]): string[] {
  return lines.filter((line) => !line.startsWith('\xff')).map((line) => line.slice(1))
}

function reopened (kv: MemoryKv): MemoryKv {
  kv.kill()
  return kv.reopen()
}

