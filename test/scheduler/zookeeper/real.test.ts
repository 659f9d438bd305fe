import { expect } from 'chai'
import { systemClock, systemRandom } from '../../../fsnode/protocol/system.ts'
import { systemNetwork } from '../../../fsnode/protocol/system-network.ts'
import { httpMasterClient } from '../../../scheduler/mesos/client.ts'
import type { MasterClient } from '../../../scheduler/mesos/client.ts'
import { parseZooKeeperUrl } from '../../../scheduler/zookeeper/address.ts'
import { LeaderDetector } from '../../../scheduler/zookeeper/leader-detector.ts'
import { quietLog } from '../framework/harness.ts'
import { Notices } from '../mesos/notices.ts'
import { ca, frameworkInfo, readTls, serveMaster } from '../mesos/tls-master.ts'
import type { TlsMaster } from '../mesos/tls-master.ts'
import { RealZooKeeper, ZooKeeperWriter, isZooKeeperInstalled, whySkipped } from './real-server.ts'

describe(`client: ZooKeeper, https, client certificates and basic authentication together${whySkipped}`, function () {
  this.timeout(60_000)
  let zooKeeper: RealZooKeeper
  let masters: TlsMaster[]
  let client: MasterClient | undefined

  before(async function () {
    if (!isZooKeeperInstalled) this.skip()
    zooKeeper = await RealZooKeeper.start()
  })

  beforeEach(async () => { masters = [await serveMaster(), await serveMaster()] })

  afterEach(() => {
    client?.close()
    for (const master of masters) master.close()
  })

  after(async () => { await zooKeeper?.stop() })

  const info = ({ port }: TlsMaster): string => JSON.stringify({ id: `m${port}`, hostname: 'localhost', port, address: { hostname: 'localhost', ip: '127.0.0.1', port } })

  it('finds the leader in a real ZooKeeper, follows to the next one when the first dies, and stays while ZooKeeper hangs', async () => {
    const writer = await ZooKeeperWriter.connect(zooKeeper.port)
    const notices = new Notices()
    client = httpMasterClient({ clock: systemClock, random: systemRandom, log: quietLog })({
      masters: [`zk://127.0.0.1:${zooKeeper.port}/mesos`],
      credentials: { principal: 'atoll', secret: 'pass word' },
      tls: { ca, ...readTls('client') },
      subscribe: () => ({ framework_info: frameworkInfo }),
      onNotice: notices.push
    })
    client.start()
    expect(await notices.ofType('disconnected')).to.include({ code: 'ATOLL_MESOS_NO_LEADER' })
    await writer.create('/mesos', '')
    await writer.create('/mesos/log_replicas', '')
    const first = await writer.create('/mesos/json.info_', info(masters[0]!), { ephemeralSequential: true })
    await writer.create('/mesos/json.info_', info(masters[1]!), { ephemeralSequential: true })
    const urlOf = ({ port }: TlsMaster): string => `https://localhost:${port}/api/v1/scheduler`
    const subscribedAt = (master: TlsMaster): Promise<unknown> => notices.until((notice): notice is never => notice.type === 'subscribed' && notice.url === urlOf(master))
    await subscribedAt(masters[0]!)
    expect(masters[0]!.peers[0]).to.include({ authorization: `Basic ${Buffer.from('atoll:pass word').toString('base64')}`, subject: 'client' })

    zooKeeper.pause()
    masters[0]!.heartbeat()
    client.call({ type: 'REVIVE' })
    await masters[0]!.until(() => masters[0]!.calls.includes('REVIVE'))
    zooKeeper.resume()

    // The leader dies: its stream breaks at once, its node in ZooKeeper goes a little later.
    masters[0]!.close()
    await writer.delete(first)
    await subscribedAt(masters[1]!)
    expect(notices.all.some(({ type }) => type === 'stopped')).to.equal(false)
    writer.vanish()
  })

  it('reads what is readable with the credentials of the address only; without them it tells why it cannot', async () => {
    const writer = await ZooKeeperWriter.connect(zooKeeper.port)
    const digest = 'atoll:not for all'
    await writer.create('/protected', '', { digest })
    // Nobody else may make a child there: this one is made with the credentials, too.
    await writer.authenticate(digest)
    await writer.create('/protected/json.info_', info(masters[0]!), { ephemeralSequential: true, digest })
    const leaderOf = async (address: string): Promise<unknown> => {
      let detector: LeaderDetector | undefined
      const found = await new Promise((resolve) => {
        detector = new LeaderDetector({ network: systemNetwork, clock: systemClock, random: systemRandom, log: quietLog }, {
          address: parseZooKeeperUrl(address),
          onLeader: (leader) => { resolve(leader?.port) },
          onProblem: (_code, message) => { resolve(message) }
        })
        detector.start()
      })
      detector!.close()
      return found
    }
    expect(await leaderOf(`zk://${digest}@127.0.0.1:${zooKeeper.port}/protected`)).to.equal(masters[0]!.port)
    expect(await leaderOf(`zk://127.0.0.1:${zooKeeper.port}/protected`)).to.match(/auth|allowed|permission/i)
    writer.vanish()
  })
})
