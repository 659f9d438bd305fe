import { expect } from 'chai'
import type { Connection, Stream } from '@libp2p/interface'
import { entryKind, type RaftMessage } from '../../fsnode/raft/core/types.ts'
import { OutgoingLink, silenceMsMax } from '../../fsnode/raft/outgoing-link.ts'

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const address = { peerId: 'p', host: '127.0.0.1', raftPort: 1 }
const message: RaftMessage = { type: 'append', term: 1, prevIndex: 1, prevTerm: 1, commitIndex: 1, stamp: 1, round: 1, entries: [{ index: 2, term: 1, kind: entryKind.command, data: new Uint8Array(1 << 20) }] as any }

describe('a Raft link with more to send than the other side takes at once', () => {
  async function opened (): Promise<{ link: OutgoingLink, stream: { writeBufferLength: number }, isGivenUp: () => boolean }> {
    let isGivenUp = false
    const stream = { writeBufferLength: 0, addEventListener: () => {}, abort: () => {}, send: ({ length }: Uint8Array) => { stream.writeBufferLength += length } }
    const connection = { abort: () => { isGivenUp = true } }
    const link = new OutgoingLink(
      { clock: { now: () => 0 } as any, random: { next: () => 0 } as any, log: silent as any, resolve: () => address },
      { self: 'a', to: 'b', open: async () => ({ stream: stream as unknown as Stream, connection: connection as unknown as Connection }) }
    )
    link.send('g', message)
    await new Promise((resolve) => { setImmediate(resolve) })
    return { link, stream, isGivenUp: () => isGivenUp }
  }

  it('is not given up while it takes some', async () => {
    const { link, stream, isGivenUp } = await opened()
    for (let now = 2_000; now <= 3 * silenceMsMax; now += 2_000) {
      stream.writeBufferLength -= 1_000
      link.check(now)
    }
    expect(isGivenUp()).to.equal(false)
  })

  it('is given up when it takes no more', async () => {
    const { link, isGivenUp } = await opened()
    for (let now = 2_000; now <= 3 * silenceMsMax; now += 2_000) link.check(now)
    expect(isGivenUp()).to.equal(true)
  })
})
