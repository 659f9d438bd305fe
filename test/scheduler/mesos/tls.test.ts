import { expect } from 'chai'
import { systemClock, systemRandom } from '../../../fsnode/protocol/system.ts'
import { httpMasterClient } from '../../../scheduler/mesos/client.ts'
import type { MasterClient, MasterClientInit } from '../../../scheduler/mesos/client.ts'
import { quietLog } from '../framework/harness.ts'
import { Notices } from './notices.ts'
import { ca, frameworkInfo, readTls, serveMaster } from './tls-master.ts'
import type { TlsMaster, TlsMasterInit } from './tls-master.ts'

describe('client: https', () => {
  const closing: Array<{ close: () => void }> = []
  afterEach(() => { for (const each of closing.splice(0)) each.close() })

  async function serve (init: TlsMasterInit = {}): Promise<TlsMaster> {
    const master = await serveMaster(init)
    closing.push(master)
    return master
  }

  function connect (masters: string[], options: Partial<MasterClientInit> = {}): Notices {
    const notices = new Notices()
    const client: MasterClient = httpMasterClient({ clock: systemClock, random: systemRandom, log: quietLog })({
      masters,
      credentials: { principal: 'atoll', secret: 'pass word' },
      tls: { ca, ...readTls('client') },
      subscribe: () => ({ framework_info: frameworkInfo }),
      onNotice: notices.push,
      ...options
    })
    closing.push(client)
    client.start()
    return notices
  }

  const https = ({ port }: TlsMaster): string => `https://127.0.0.1:${port}`

  it('subscribes with the authority, the client certificate and the secret that it was given', async () => {
    const master = await serve()
    await connect([https(master)]).ofType('subscribed')
    expect(master.peers).to.deep.equal([{ authorization: `Basic ${Buffer.from('atoll:pass word').toString('base64')}`, subject: 'client' }])
  })

  it('follows a redirect without a scheme over https, with all three', async () => {
    const leader = await serve()
    const follower = await serve({ redirectTo: `//127.0.0.1:${leader.port}/master/api/v1/scheduler` })
    expect(await connect([https(follower)]).ofType('subscribed')).to.include({ url: `https://127.0.0.1:${leader.port}/master/api/v1/scheduler` })
    expect(leader.peers[0]).to.include({ subject: 'client' })
  })

  it('does not follow a redirect that leaves https: the secret would travel in the clear', async () => {
    const follower = await serve({ redirectTo: 'http://127.0.0.1:1/api/v1/scheduler' })
    const notice = await connect([https(follower)]).ofType('disconnected')
    expect(notice).to.include({ code: 'ATOLL_MESOS_REFUSED' })
    expect(notice.message).to.contain('is not followed')
  })

  for (const [what, masterInit, clientInit, code] of [
    ['a master that another authority vouches for', { certificateOf: 'stranger' }, {}, 'ATOLL_MESOS_TLS'],
    ['a master whose authority is unknown to us', {}, { tls: readTls('client') }, 'ATOLL_MESOS_TLS'],
    ['a wrong secret', {}, { credentials: { principal: 'atoll', secret: 'guess' } }, 'ATOLL_MESOS_UNAUTHENTICATED'],
    ['no secret', {}, { credentials: undefined }, 'ATOLL_MESOS_UNAUTHENTICATED']
  ] as Array<[string, TlsMasterInit, Partial<MasterClientInit>, string]>) {
    it(`${what}: told as ${code}, tried again slowly`, async () => {
      const notice = await connect([https(await serve(masterInit))], clientInit).ofType('disconnected')
      expect(notice).to.include({ code })
      expect(notice.retryInMs).to.be.at.least(7_500)
    })
  }

  it('without the certificate that the master wants, no subscription is made', async () => {
    const master = await serve()
    const notice = await connect([https(master)], { tls: { ca } }).ofType('disconnected')
    expect(notice.code).to.be.oneOf(['ATOLL_MESOS_TLS', 'ATOLL_CONNECTION_LOST'])
    expect(master.calls).to.deep.equal([])
  })

  it('a name that the certificate does not have is told', async () => {
    const master = await serve()
    const notice = await connect([`https://127.0.0.2:${master.port}`]).ofType('disconnected')
    expect(notice.code).to.be.oneOf(['ATOLL_MESOS_TLS', 'ATOLL_UNREACHABLE'])
  })

  it('http to a master that wants https is told', async () => {
    const master = await serve({ wantsCertificate: false })
    const notice = await connect([`http://127.0.0.1:${master.port}`]).ofType('disconnected')
    expect(notice.code).to.be.oneOf(['ATOLL_CONNECTION_LOST', 'ATOLL_MESOS_TLS'])
  })
})
