import { expect } from 'chai'
import { parseZooKeeperUrl } from '../../../scheduler/zookeeper/address.ts'
import { LeaderDetector } from '../../../scheduler/zookeeper/leader-detector.ts'
import { SimClock } from '../../sim/clock.ts'
import { SimNetwork } from '../../sim/network.ts'
import { SimRandom } from '../../sim/random.ts'
import { quietLog } from '../framework/harness.ts'
import { ScriptedZooKeeper } from './scripted-server.ts'

const infoOf = (port: number): string => JSON.stringify({ id: `m${port}`, hostname: '127.0.0.1', port, address: { hostname: 'masters', ip: '127.0.0.1', port } })

describe('leader detection in ZooKeeper', () => {
  let clock: SimClock
  let network: SimNetwork
  let server: ScriptedZooKeeper
  let leaders: Array<number | null>
  let problems: string[]
  let detector: LeaderDetector

  async function begin (url = 'zk://zk1:2181/mesos'): Promise<void> {
    clock = new SimClock()
    network = new SimNetwork({ clock, random: new SimRandom(1) })
    server = new ScriptedZooKeeper()
    await server.listen(network.host('zk1'), 'zk1', 2181)
    leaders = []
    problems = []
    detector = new LeaderDetector({ network: network.host('me'), clock, random: new SimRandom(2), log: quietLog }, {
      address: parseZooKeeperUrl(url),
      onLeader: (leader) => { leaders.push(leader?.address?.port ?? null) },
      onProblem: (code) => { problems.push(code) }
    })
    detector.start()
  }

  afterEach(() => { detector.close() })

  it('names the lowest number, again when it goes away, and nobody when all are gone', async () => {
    await begin()
    server.set('/mesos', '')
    server.set('/mesos/log_replicas', '')
    server.set('/mesos/json.info_0000000002', infoOf(5060))
    server.set('/mesos/json.info_0000000001', infoOf(5050))
    await clock.advance(500)
    server.set('/mesos/json.info_0000000003', infoOf(5070))
    await clock.advance(500)
    server.delete('/mesos/json.info_0000000001')
    await clock.advance(500)
    server.set('/mesos/json.info_0000000004', infoOf(5050))
    server.delete('/mesos/json.info_0000000002')
    await clock.advance(500)
    server.delete('/mesos/json.info_0000000003')
    server.delete('/mesos/json.info_0000000004')
    await clock.advance(500)
    expect(leaders).to.deep.equal([5050, 5060, 5070, null])
    expect(problems).to.deep.equal([])
  })

  it('waits for a folder that nobody has made yet', async () => {
    await begin()
    await clock.advance(60_000)
    expect(leaders).to.deep.equal([null])
    server.set('/mesos', '')
    server.set('/mesos/json.info_0000000001', infoOf(5050))
    await clock.advance(500)
    expect(leaders).to.deep.equal([null, 5050])
  })

  it('keeps its session alive without being asked, and has one connection', async () => {
    await begin()
    server.set('/mesos', '')
    await clock.advance(10 * 60_000)
    expect(problems).to.deep.equal([])
    expect(server.sessions).to.equal(1)
  })

  it('looks anew after a lost connection: what changed meanwhile is found', async () => {
    await begin()
    server.set('/mesos', '')
    server.set('/mesos/json.info_0000000001', infoOf(5050))
    await clock.advance(500)
    network.cut('me', 'zk1')
    server.delete('/mesos/json.info_0000000001')
    server.set('/mesos/json.info_0000000002', infoOf(5060))
    await clock.advance(30_000)
    expect(problems.length).to.be.greaterThan(1)
    expect(leaders).to.deep.equal([5050])
    network.heal()
    await clock.advance(30_000)
    expect(leaders).to.deep.equal([5050, 5060])
  })

  it('tries the other servers at once, then backs off', async () => {
    await begin('zk://zk0,zk1,zk2/mesos')
    server.set('/mesos', '')
    server.set('/mesos/json.info_0000000001', infoOf(5050))
    await clock.advance(1_500)
    expect(leaders.at(-1)).to.equal(5050)
    network.crash('zk1')
    await clock.advance(10 * 60_000)
    expect(problems.length).to.be.within(60, 250)
  })

  it('a server that says nothing, or gives no session, is left', async () => {
    await begin()
    server.silent = true
    await clock.advance(20_000)
    expect(problems).to.include('ATOLL_TIMEOUT')
    server.silent = false
    server.refusing = true
    server.dropAll()
    await clock.advance(20_000)
    expect(problems).to.include('ATOLL_UNAVAILABLE')
    server.refusing = false
    server.set('/mesos', '')
    server.set('/mesos/json.info_0000000001', infoOf(5050))
    await clock.advance(20_000)
    expect(leaders.at(-1)).to.equal(5050)
  })

  it('what is no address of a master is a problem that passes', async () => {
    await begin()
    server.set('/mesos', '')
    server.set('/mesos/json.info_0000000001', 'rubbish')
    await clock.advance(500)
    expect(problems).to.deep.equal(['ATOLL_BAD_MESSAGE'])
    server.set('/mesos/json.info_0000000001', infoOf(5050))
    await clock.advance(3_000)
    expect(leaders).to.deep.equal([5050])
  })

  it('sends the user and password of its address by the digest scheme', async () => {
    await begin('zk://me:pass@zk1/mesos')
    await clock.advance(500)
    expect(server.digests).to.deep.equal(['digest me:pass'])
  })
})
