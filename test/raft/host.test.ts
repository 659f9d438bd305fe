import { expect } from 'chai'
import { codeOf } from '../../fsnode/protocol/errors.ts'
import { RaftHost } from '../../fsnode/raft/host.ts'
import type { RaftGroup } from '../../fsnode/raft/types.ts'
import { MemoryKv } from '../sim/memory-kv.ts'
import { SimRandom } from '../sim/random.ts'
import { LogMachine } from './log-machine.ts'
import { SimCluster, type SimNode } from './sim-cluster.ts'

const failure = (promise: Promise<unknown>): Promise<any> => promise.then(() => { throw new Error('it did not fail') }, (error: unknown) => error)

async function clusterOf (nodes: number, init: Partial<ConstructorParameters<typeof SimCluster>[0]> = {}): Promise<{ cluster: SimCluster, leader: SimNode, followers: SimNode[] }> {
  const cluster = await new SimCluster({ nodes, ...init }).start()
  const leader = await cluster.untilLeader()
  return { cluster, leader, followers: cluster.running.filter((node) => node !== leader) }
}

describe('raft groups', () => {
  let cluster: SimCluster
  afterEach(() => { if (cluster !== undefined) expect(cluster.violations).to.deep.equal([]) })

  it('the first member of a new group leads without waiting for an election timeout', async () => {
    ({ cluster } = await clusterOf(3))
    expect(cluster.clock.now()).to.be.lessThan(500)
    expect(cluster.leader!.id).to.equal('n1')
  })

  it('a proposal takes one round trip and one sync of a follower, no more', async () => {
    const { leader } = { cluster } = await clusterOf(3, { syncDelayMs: 3 })
    Object.assign(cluster.network.faults, { delayMsMin: 10, delayMsMax: 10 })
    await cluster.clock.advance(1_000)
    const start = cluster.clock.now()
    await cluster.clock.run(cluster.propose(leader, 'x'))
    expect(cluster.clock.now() - start).to.be.closeTo(23, 0.001)
  })

  it('and is not held up by the disk of the leader', async () => {
    const { leader } = { cluster } = await clusterOf(3, { syncDelayMs: 1 })
    await cluster.clock.advance(1_000)
    leader.kv.batch = () => new Promise(() => {})
    const start = cluster.clock.now()
    await cluster.clock.run(cluster.propose(leader, 'x'))
    expect(cluster.clock.now() - start).to.be.lessThan(4)
  })

  it('each proposal resolves with the result of its own apply', async () => {
    const { leader } = { cluster } = await clusterOf(3)
    const results = await cluster.clock.run(Promise.all(['a', 'b', 'c'].map((command) => cluster.propose(leader, command))))
    expect(results).to.deep.equal(['a@1', 'b@2', 'c@3'])
  })

  it('proposals of one turn travel in one append and are synced once', async () => {
    const { leader } = { cluster } = await clusterOf(3)
    await cluster.clock.advance(200)
    let batches = 0
    const batch = leader.kv.batch.bind(leader.kv)
    leader.kv.batch = (...args) => { batches++; return batch(...args) }
    await cluster.clock.run(Promise.all(Array.from({ length: 50 }, (_, at) => cluster.propose(leader, `c${at}`))))
    expect(batches).to.equal(1)
  })

  it('a follower names the leader', async () => {
    const { followers } = { cluster } = await clusterOf(3)
    for (const call of [() => cluster.propose(followers[0]!, 'x'), () => followers[0]!.group.readBarrier()]) {
      expect(await failure(call())).to.include({ code: 'ATOLL_NOT_LEADER' }).and.have.nested.property('details.leader', 'n1')
    }
  })

  it('a leader that is cut off says that the outcome is unknown, and serves no reads', async () => {
    const { leader, followers } = { cluster } = await clusterOf(3)
    cluster.network.partition([leader.id], cluster.ids)
    const proposal = failure(cluster.propose(leader, 'lost?'))
    await cluster.clock.advance(900)
    expect(leader.group.canReadNow).to.equal(false)
    const read = failure(leader.group.readBarrier())
    expect((await cluster.clock.run(proposal, 3_000)).code).to.equal('ATOLL_UNAVAILABLE')
    expect((await cluster.clock.run(read, 3_000)).code).to.equal('ATOLL_NOT_LEADER')
    await cluster.clock.until(() => followers.some(({ group }) => group.status.role === 'leader'), 3_000)
    cluster.network.heal()
    expect(await cluster.proposeFirmly('next')).to.equal('next@1')
  })

  it('reads under a lease take no message, and see all that was acknowledged', async () => {
    const { leader } = { cluster } = await clusterOf(3)
    await cluster.clock.run(cluster.propose(leader, 'x'))
    const start = cluster.clock.now()
    expect(leader.group.canReadNow).to.equal(true)
    await leader.group.readBarrier()
    expect(cluster.clock.now()).to.equal(start)
    expect(leader.machine.commands).to.deep.equal(['x'])
  })

  it('reads without a lease take a round of heartbeats', async () => {
    cluster = await new SimCluster({ nodes: 3, timing: { leaseMarginMs: 1_000 } }).start()
    await cluster.clock.until(() => cluster.leader?.group.status.commitIndex === 1)
    const leader = cluster.leader!
    expect(leader.group.canReadNow).to.equal(false)
    await cluster.clock.run(Promise.all([leader.group.readBarrier(), leader.group.readBarrier()]), 50)
  })

  it('more proposals than the bound are refused, and those within it are not', async () => {
    const { leader } = { cluster } = await clusterOf(3, { limits: { proposalsMax: 10, proposalBytesMax: 1_000 } })
    const some = Array.from({ length: 10 }, (_, at) => cluster.propose(leader, `c${at}`))
    expect((await failure(cluster.propose(leader, 'one too many'))).code).to.equal('ATOLL_UNAVAILABLE')
    expect(await cluster.clock.run(Promise.all(some))).to.have.length(10)
    const large = cluster.propose(leader, 'x'.repeat(900))
    expect((await failure(cluster.propose(leader, 'x'.repeat(200)))).code).to.equal('ATOLL_UNAVAILABLE')
    await cluster.clock.run(large)
    expect(await cluster.clock.run(cluster.propose(leader, 'x'.repeat(200)))).to.match(/@12$/)
    expect((await failure(leader.group.propose(Buffer.alloc(5 * 1024 * 1024)))).code).to.equal('ATOLL_TOO_LARGE')
  })

  it('leadership goes to the named member, and listeners are told', async () => {
    const { leader, followers } = { cluster } = await clusterOf(3)
    const roles: string[] = []
    const stop = leader.group.onStatus(({ role, leader }) => roles.push(`${role} of ${leader}`))
    const target = followers[1]!
    await cluster.clock.run(leader.group.transferLeadership(target.id), 100)
    expect(target.group.status.role).to.equal('leader')
    expect(roles.at(-1)).to.equal(`follower of ${target.id}`)
    stop()
    await cluster.clock.run(target.group.transferLeadership(leader.id), 100)
    expect(roles.at(-1)).to.equal(`follower of ${target.id}`)
    expect(await cluster.proposeFirmly('x')).to.equal('x@1')
  })

  it('a hand-over to a member that is away ends, and the leader goes on', async () => {
    const { leader, followers } = { cluster } = await clusterOf(3)
    cluster.network.partition([followers[0]!.id], cluster.ids)
    await cluster.clock.run(cluster.propose(leader, 'x'))
    const transfer = leader.group.transferLeadership(followers[0]!.id)
    expect((await failure(cluster.propose(leader, 'y'))).code).to.equal('ATOLL_UNAVAILABLE')
    await cluster.clock.run(transfer, 2_100)
    expect(await cluster.clock.run(cluster.propose(leader, 'z'))).to.equal('z@2')
    expect(leader.group.canReadNow).to.equal(true)
  })

  it('members come and go through the log', async () => {
    cluster = new SimCluster({ nodes: 4 })
    for (const id of ['n1', 'n2', 'n3']) await cluster.startNode(id, ['n1', 'n2', 'n3'])
    const leader = await cluster.untilLeader()
    await cluster.clock.run(cluster.propose(leader, 'x'))
    const newcomer = await cluster.startNode('n4', [])
    await cluster.clock.run(leader.group.changeMembers(['n1', 'n2', 'n3', 'n4']))
    await cluster.clock.run(leader.group.changeMembers(['n1', 'n2', 'n4']))
    await cluster.clock.run(leader.group.changeMembers(['n4', 'n2', 'n1'])) // nothing to do
    await cluster.clock.advance(200)
    expect(newcomer.group.status.members).to.deep.equal(['n1', 'n2', 'n4'])
    expect(newcomer.machine.commands).to.deep.equal(['x'])
    expect((await failure(leader.group.changeMembers(['n1']))).code).to.equal('ATOLL_UNAVAILABLE')
    cluster.crash('n2')
    expect(await cluster.proposeFirmly('y')).to.equal('y@2') // a majority of the new members
  })

  it('a change to a member that does not come fails in time and changes nothing', async () => {
    const { leader } = { cluster } = await clusterOf(3, { timing: { joinTimeoutMs: 2_000 } })
    const change = failure(leader.group.changeMembers(['n1', 'n2', 'n3', 'n9']))
    expect((await failure(leader.group.changeMembers(['n1', 'n2']))).code).to.equal('ATOLL_UNAVAILABLE')
    expect((await cluster.clock.run(change, 2_200)).code).to.equal('ATOLL_UNAVAILABLE')
    expect(leader.group.status.members).to.deep.equal(['n1', 'n2', 'n3'])
    await cluster.clock.run(leader.group.changeMembers(['n1', 'n2']))
  })

  it('what was acknowledged survives when the power fails everywhere at once', async () => {
    const { leader } = { cluster } = await clusterOf(3)
    await cluster.clock.run(Promise.all(Array.from({ length: 20 }, (_, at) => cluster.propose(leader, `c${at}`))))
    for (const id of cluster.ids) cluster.crash(id)
    for (const id of cluster.ids) await cluster.restart(id)
    await cluster.proposeFirmly('after')
    await cluster.untilConverged()
    for (const { machine } of cluster.running) expect(machine.commands).to.deep.equal([...Array.from({ length: 20 }, (_, at) => `c${at}`), 'after'])
  })

  it('the log is cut when it is long, and a follower that was away for long gets a snapshot in chunks', async () => {
    const { leader, followers } = { cluster } = await clusterOf(3, { limits: { logEntriesMax: 50, logTailEntries: 10, snapshotChunkBytesMax: 400 } })
    const away = followers[1]!
    cluster.crash(away.id)
    let longest = 0
    for (let at = 0; at < 400; at++) {
      await cluster.clock.run(cluster.propose(leader, `c${at}`))
      longest = Math.max(longest, leader.kv.size)
    }
    let chunks = 0
    const back = await cluster.restart(away.id)
    const { restore } = back.machine
    back.machine.restore = (snapshot) => {
      const counted = async function * (): AsyncIterable<Uint8Array> {
        for await (const chunk of snapshot.chunks) {
          chunks++
          expect(chunk.length).to.be.at.most(400)
          yield chunk
        }
      }
      return restore.call(back.machine, { ...snapshot, chunks: counted() })
    }
    await cluster.untilConverged()
    // The first may be one that was on its way when the follower went down.
    expect(back.machine.restores).to.be.within(1, 2)
    expect(chunks).to.be.greaterThan(10)
    expect(back.machine.commands).to.have.length(400)
    expect(longest).to.be.lessThan(170)
  })

  it('entries that were replaced a moment ago are not applied from the disk, where they still are', async () => {
    const { leader, followers } = { cluster } = await clusterOf(3, { limits: { cacheBytesMax: 300 }, syncDelayMs: 20, timing: { resendMs: 50 } })
    await cluster.clock.run(cluster.propose(leader, 'common'))
    cluster.network.partition([leader.id], cluster.ids)
    for (let at = 0; at < 20; at++) cluster.propose(leader, `old${at}`).catch(() => {})
    await cluster.clock.until(() => followers.some(({ group }) => group.status.role === 'leader' && group.canReadNow))
    const next = followers.find(({ group }) => group.status.role === 'leader')!
    for (let at = 0; at < 20; at++) await cluster.clock.run(cluster.propose(next, `new${at}`))
    cluster.crash(leader.id)
    const back = await cluster.restart(leader.id)
    cluster.network.heal()
    await cluster.clock.until(() => back.machine.commands.length === 21)
    expect(back.machine.commands).to.deep.equal(next.machine.commands)
  })

  it('a replica whose state machine lost its state gets a snapshot, though its log is there', async () => {
    const { leader, followers } = { cluster } = await clusterOf(3, { limits: { logEntriesMax: 50, logTailEntries: 10 } })
    for (let at = 0; at < 100; at++) await cluster.clock.run(cluster.propose(leader, `c${at}`))
    const lost = followers[0]!
    await lost.machine.flush()
    cluster.crash(lost.id)
    lost.machine.durable = []
    const back = await cluster.restart(lost.id)
    await cluster.untilConverged()
    expect(back.machine.restores).to.equal(1)
    expect(back.machine.commands).to.have.length(100)
  })

  it('a follower that fails to restore is not flooded with snapshots', async () => {
    const { leader, followers } = { cluster } = await clusterOf(3, { limits: { logEntriesMax: 50, logTailEntries: 10 } })
    const [behind] = followers as [SimNode]
    cluster.crash(behind.id)
    for (let at = 0; at < 200; at++) await cluster.clock.run(cluster.propose(leader, `c${at}`))
    const back = await cluster.restart(behind.id)
    let attempts = 0
    back.machine.restore = async () => { attempts++; throw new Error('no space') }
    await cluster.clock.advance(5_000)
    expect(attempts).to.be.within(3, 11)
  })

  it('a leader that dies while it sends a snapshot leaves a replica that another one completes', async () => {
    const { leader, followers } = { cluster } = await clusterOf(3, { limits: { logEntriesMax: 50, logTailEntries: 10, snapshotChunkBytesMax: 100 } })
    cluster.crash(followers[0]!.id)
    for (let at = 0; at < 200; at++) await cluster.clock.run(cluster.propose(leader, `c${at}`))
    const back = await cluster.restart(followers[0]!.id)
    await cluster.clock.until(() => back.machine.restores === 1)
    await cluster.clock.advance(5)
    cluster.crash(leader.id)
    expect(back.machine.commands).to.deep.equal([])
    await cluster.clock.until(() => back.machine.commands.length === 200)
    expect(back.machine.restores).to.equal(2)
    await cluster.proposeFirmly('after')
    await cluster.clock.until(() => back.machine.commands.at(-1) === 'after')
  })

  it('an apply that throws stops that group here, loudly, and nothing else', async () => {
    const { leader } = { cluster } = await clusterOf(3)
    const other: RaftGroup = await cluster.clock.run(leader.host.open({ groupId: 'other', members: [leader.id], stateMachine: new LogMachine() }))
    leader.machine.failure = new Error('this cannot be')
    expect((await cluster.clock.run(failure(cluster.propose(leader, 'poison')))).code).to.equal('ATOLL_UNAVAILABLE')
    expect(cluster.errors).to.have.length(1).and.match(/the Raft group stops.*this cannot be/)
    expect(leader.group.status).to.include({ role: 'follower', leader: null })
    expect(leader.group.canReadNow).to.equal(false)
    expect((await failure(cluster.propose(leader, 'more'))).code).to.equal('ATOLL_UNAVAILABLE')
    expect(await cluster.clock.run(other.propose(Buffer.from('x')))).to.equal('x@1')
    cluster.crash(leader.id)
    await cluster.clock.until(() => cluster.running.every(({ machine }) => machine.commands.includes('poison')))
  })

  it('a disk that fails stops every group of the node, and says so', async () => {
    const { leader } = { cluster } = await clusterOf(3)
    leader.kv.failure = new Error('no space left')
    const error = await cluster.clock.run(failure(cluster.propose(leader, 'x')).catch(() => 'the others committed it'))
    if (error !== 'the others committed it') expect(error.code).to.equal('ATOLL_UNAVAILABLE')
    await cluster.clock.advance(10)
    expect(leader.group.status.role).to.equal('follower')
    expect(cluster.errors.join()).to.include('no space left')
    expect((await failure(leader.host.open({ groupId: 'other', members: ['n1'], stateMachine: new LogMachine() }))).code).to.equal('ATOLL_STORE_UNUSABLE')
  })

  it('one member alone commits at the speed of its disk, and replays its log at the next start', async () => {
    ({ cluster } = await clusterOf(1, { syncDelayMs: 2 }))
    const start = cluster.clock.now()
    expect(await cluster.clock.run(cluster.propose(cluster.node('n1'), 'x'))).to.equal('x@1')
    expect(cluster.clock.now() - start).to.be.closeTo(2, 0.001)
    cluster.crash('n1')
    const again = await cluster.restart('n1')
    await cluster.clock.until(() => again.machine.commands.length === 1, 100)
    expect(again.group.status.role).to.equal('leader')
  })

  it('a long log is replayed without holding up the others', async () => {
    ({ cluster } = await clusterOf(1, { limits: { applyEntriesMax: 10, cacheBytesMax: 1_000 } }))
    await cluster.clock.run(Promise.all(Array.from({ length: 500 }, (_, at) => cluster.propose(cluster.node('n1'), `c${at}`))))
    cluster.crash('n1')
    const again = await cluster.restart('n1')
    await cluster.clock.until(() => again.machine.commands.length === 500, 1_000)
    expect(again.machine.commands[499]).to.equal('c499')
  })
})

describe('raft hosts', () => {
  const make = async (): Promise<{ cluster: SimCluster, node: SimNode }> => {
    const cluster = await new SimCluster({ nodes: 1 }).start()
    return { cluster, node: await cluster.untilLeader() }
  }

  it('refuse a state without its log: a vote may be forgotten', async () => {
    const { cluster, node } = await make()
    const stateMachine = new LogMachine()
    stateMachine.durable = [{ index: 7, term: 1, command: 'x' }]
    expect(codeOf(await cluster.clock.run(failure(node.host.open({ groupId: 'g', members: ['n1'], stateMachine }))))).to.equal('ATOLL_STORE_UNUSABLE')
  })

  it('refuse a lone replica whose state ends before its log begins', async () => {
    const { cluster, node } = await make()
    const open = (stateMachine: LogMachine): Promise<RaftGroup> => cluster.clock.run(node.host.open({ groupId: 'g', members: ['n1'], stateMachine }))
    const machine = new LogMachine()
    const group = await open(machine)
    await cluster.clock.until(() => group.canReadNow)
    await cluster.clock.run(group.propose(Buffer.from('x')))
    await cluster.clock.run(group.close())
    const log = [...await cluster.clock.run(node.host.groupsOnDisk())]
    expect(log.sort()).to.deep.equal(['1.m.0', 'g'])
    // The entry that was applied is cut off.
    const { LogStore } = await import('../../fsnode/raft/log-store.ts')
    const store = new LogStore({ kv: node.kv, log: null as never }, { onFailure: () => {} })
    await cluster.clock.run(new Promise<void>((resolve) => { store.write('g', { sequence: 1, hardState: null, mark: { index: 2, term: 1, members: ['n1'] }, cutFrom: 1, truncateFrom: 0, truncateTo: -1, entries: [] }, resolve) }))
    expect(codeOf(await failure(open(new LogMachine())))).to.equal('ATOLL_STORE_UNUSABLE')
  })

  it('open a group once, close it, open it again from disk, and remove it', async () => {
    const { cluster, node } = await make()
    const open = (machine = new LogMachine()): Promise<RaftGroup> => cluster.clock.run(node.host.open({ groupId: 'g', members: ['n1'], stateMachine: machine }))
    const group = await open()
    expect((await failure(open())).message).to.include('open already')
    await cluster.clock.until(() => group.canReadNow)
    await cluster.clock.run(group.propose(Buffer.from('x')))
    expect((await failure(node.host.remove('g'))).message).to.include('is open')
    await cluster.clock.run(group.close())
    expect(codeOf(await failure(group.propose(Buffer.from('y'))))).to.equal('ATOLL_UNAVAILABLE')
    const machine = new LogMachine()
    const again = await open(machine)
    await cluster.clock.until(() => machine.commands.join() === 'x')
    await cluster.clock.run(again.close())
    await cluster.clock.run(node.host.remove('g'))
    expect(await cluster.clock.run(node.host.groupsOnDisk())).to.deep.equal(['1.m.0'])
    expect((await open()).status).to.include({ commitIndex: 0 })
  })

  it('drop messages for groups that are not open, and names that are too long', async () => {
    const { cluster, node } = await make()
    cluster.network.endpoint('stranger').send('n1', 'no such group', { type: 'timeoutNow', term: 1, round: 0 })
    await cluster.clock.advance(10)
    expect(cluster.errors).to.deep.equal([])
    expect(codeOf(await failure(node.host.open({ groupId: 'g'.repeat(256), members: ['n1'], stateMachine: new LogMachine() })))).to.equal('ATOLL_BAD_MESSAGE')
  })

  it('reject what waits when they close, and leave no timer', async () => {
    const cluster = await new SimCluster({ nodes: 3 }).start()
    const leader = await cluster.untilLeader()
    cluster.network.partition([leader.id], cluster.ids)
    const waiting = failure(cluster.propose(leader, 'x'))
    await cluster.clock.run(leader.host.close())
    expect(codeOf(await waiting)).to.equal('ATOLL_UNAVAILABLE')
    const dead = new RaftHost({ clock: cluster.clock, random: new SimRandom(1), log: null as never, kv: new MemoryKv(), transport: cluster.network.endpoint('x') }, { self: 'x' })
    await dead.close()
    expect(codeOf(await failure(dead.open({ groupId: 'g', members: ['x'], stateMachine: new LogMachine() })))).to.equal('ATOLL_UNAVAILABLE')
  })
})
