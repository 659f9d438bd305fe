import { expect } from 'chai'
import { readFileSync } from 'node:fs'
import { parseZooKeeperUrl } from '../../../scheduler/zookeeper/address.ts'
import { LeaderDetector } from '../../../scheduler/zookeeper/leader-detector.ts'
import { PacketDecoder } from '../../../scheduler/zookeeper/packets.ts'
import { SimClock } from '../../sim/clock.ts'
import { SimNetwork } from '../../sim/network.ts'
import { SimRandom } from '../../sim/random.ts'
import { quietLog } from '../framework/harness.ts'
import { bytesOf } from '../mesos/recording.ts'
import type { Line } from '../mesos/recording.ts'

const file = new URL('../../fixtures/mesos/16-zookeeper-wire.jsonl', import.meta.url)
const lines = readFileSync(file, 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line) as Line)

/** What is asked for: an operation and a path, whatever its number, and whether it is to be watched. */
const questionOf = (request: Buffer): string => request.length < 12 ? String(request.readInt32BE(4)) : `${request.readInt32BE(4)} ${request.subarray(12, 12 + request.readInt32BE(8)).toString()}`

function packets (connection: number, dir: string): Buffer[] {
  return new PacketDecoder().push(Buffer.concat(lines.filter((line) => line.conn === connection && line.dir === dir).map(bytesOf))).map((packet) => Buffer.from(packet))
}

/** A server that answers with the bytes that a real one gave in one of the recorded looks, each under the number of its question. */
async function serve (network: SimNetwork, look: number, pieceBytes: number): Promise<void> {
  const [hello, ...answers] = packets(look, 'response')
  const [, ...questions] = packets(look, 'request')
  const known = new Map(questions.map((question, index) => [questionOf(question), answers[index]!]))
  await network.host('zk').listen({ host: 'zk', port: 2181 }, (connection) => {
    const decoder = new PacketDecoder()
    let isOpen = false
    const send = (packet: Buffer): void => {
      const framed = Buffer.alloc(4 + packet.length)
      framed.writeInt32BE(packet.length)
      packet.copy(framed, 4)
      for (let at = 0; at < framed.length; at += pieceBytes) connection.send([framed.subarray(at, at + pieceBytes)])
    }
    connection.onData = (bytes) => {
      for (const request of decoder.push(Buffer.from(bytes)).map((packet) => Buffer.from(packet))) {
        const answer = isOpen ? known.get(questionOf(request)) : hello
        if (answer === undefined) continue
        const copy = Buffer.from(answer)
        if (isOpen) copy.writeInt32BE(request.readInt32BE(0), 0)
        isOpen = true
        send(copy)
      }
    }
  })
}

describe('leader detection: what a real ZooKeeper answered', () => {
  for (const [look, port] of [[1, 5050], [2, 5060], [3, 5060]] as const) {
    for (const pieceBytes of [1, 7, 100_000]) {
      it(`look ${look}: the master at port ${port} leads, with answers in pieces of ${pieceBytes} bytes`, async () => {
        const clock = new SimClock()
        const network = new SimNetwork({ clock, random: new SimRandom(1) })
        await serve(network, look, pieceBytes)
        const leaders: Array<number | null> = []
        const problems: string[] = []
        const detector = new LeaderDetector({ network: network.host('me'), clock, random: new SimRandom(2), log: quietLog }, {
          address: parseZooKeeperUrl('zk://zk:2181/mesos'),
          onLeader: (leader) => { leaders.push(leader?.address?.port ?? null) },
          onProblem: (code) => { problems.push(code) }
        })
        detector.start()
        await clock.advance(2_000)
        detector.close()
        expect([leaders, problems]).to.deep.equal([[port], []])
      })
    }
  }
})
