import { expect } from 'chai'
import { readFileSync } from 'node:fs'
import { parseZooKeeperUrl } from '../../../scheduler/zookeeper/address.ts'
import { candidatesOf, parseMasterInfo } from '../../../scheduler/zookeeper/leader-detector.ts'
import { PacketDecoder, bareRequest, connectRequest, opcodes, pathRequest, readChildren, readConnectReply, readReply } from '../../../scheduler/zookeeper/packets.ts'
import { bytesOf } from '../mesos/recording.ts'
import type { Line } from '../mesos/recording.ts'

const file = new URL('../../fixtures/mesos/16-zookeeper-wire.jsonl', import.meta.url)
const lines = readFileSync(file, 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line) as Line)
const sent = (connection: number, dir: string): Buffer => Buffer.concat(lines.filter((line) => line.conn === connection && line.dir === dir).map(bytesOf))

/** The leader's port at each of the three recorded looks. */
const leaders: Array<[number, number, string[]]> = [
  [1, 5050, ['json.info_0000000001', 'json.info_0000000002', 'json.info_0000000003']],
  [2, 5060, ['json.info_0000000002', 'json.info_0000000003']],
  [3, 5060, ['json.info_0000000002', 'json.info_0000000003', 'json.info_0000000004']]
]

describe('ZooKeeper packets: as recorded from a real server', () => {
  for (const [connection, port, candidates] of leaders) {
    it(`look ${connection}: our requests are the recorded bytes`, () => {
      let xid = 0
      const asked = [...candidates, 'log_replicas'].map((name) => `/mesos/${name}`)
      const requests = [
        connectRequest(10_000),
        pathRequest(++xid, opcodes.getChildren, '/mesos', false),
        ...asked.map((path) => pathRequest(++xid, opcodes.getData, path, false)),
        bareRequest(++xid, opcodes.close)
      ]
      expect(Buffer.concat(requests).equals(sent(connection, 'request'))).to.equal(true)
    })

    it(`look ${connection}: at every split of the answers the leader is the master of the lowest number, and log_replicas is no master`, () => {
      const bytes = sent(connection, 'response')
      for (let split = 0; split <= bytes.length; split++) {
        const decoder = new PacketDecoder()
        const [hello, children, ...rest] = [...decoder.push(bytes.subarray(0, split)), ...decoder.push(bytes.subarray(split))]
        expect(readConnectReply(hello!).timeoutMs).to.equal(10_000)
        const names = readChildren(readReply(children!).body)
        expect(names).to.include('log_replicas')
        expect(candidatesOf(names)).to.deep.equal(candidates)
        expect(parseMasterInfo(readReply(rest[0]!).body.bytes().toString()).address!.port).to.equal(port)
      }
    })
  }

  it('orders by number, not by text, and past ten digits', () => {
    expect(candidatesOf(['json.info_9999999999', 'json.info_10000000000', 'info_0000000001', 'json.info_x', 'json.info_0000000100']))
      .to.deep.equal(['json.info_0000000100', 'json.info_9999999999', 'json.info_10000000000'])
  })

  for (const [what, bytes] of [['a negative length', Buffer.from('ffffff00', 'hex')], ['an enormous length', Buffer.from('7fffffff', 'hex')]] as const) {
    it(`refuses ${what}`, () => { expect(() => new PacketDecoder().push(bytes)).to.throw().with.property('code', 'ATOLL_BAD_MESSAGE') })
  }

  it('refuses a packet that ends too early, and what is no MasterInfo', () => {
    expect(() => readChildren(readReply(Buffer.concat([Buffer.alloc(16), Buffer.from('00000009', 'hex')])).body)).to.throw().with.property('code', 'ATOLL_BAD_MESSAGE')
    for (const bad of ['', '{}', 'null', '{"hostname":"m"}', '{"hostname":"","port":5050}']) expect(() => parseMasterInfo(bad), bad).to.throw().with.property('code', 'ATOLL_BAD_MESSAGE')
  })
})

describe('ZooKeeper addresses', () => {
  it('names servers, path and the digest', () => {
    expect(parseZooKeeperUrl('zk://h1,h2:2182/mesos')).to.deep.equal({ servers: [{ host: 'h1', port: 2181 }, { host: 'h2', port: 2182 }], path: '/mesos' })
    expect(parseZooKeeperUrl('zk://u:p@[::1]:2181/a/b/')).to.deep.equal({ servers: [{ host: '::1', port: 2181 }], path: '/a/b', digest: 'u:p' })
  })

  for (const bad of ['zk://', 'zk://h1', 'zk://h1/', 'zk:///mesos', 'zk://h1:port/mesos', 'zk://h1,/mesos', 'zk://h1//mesos', 'zk://h1:99999/mesos']) {
    it(`refuses '${bad}'`, () => { expect(() => parseZooKeeperUrl(bad)).to.throw().with.property('code', 'ATOLL_INVALID_MASTER') })
  }

  it('does not tell the password of an address that it refuses', () => {
    expect(() => parseZooKeeperUrl('zk://me:secret@h1')).to.throw().with.property('message').that.does.not.contain('secret')
  })
})
