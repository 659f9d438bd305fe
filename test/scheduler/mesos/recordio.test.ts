import { expect } from 'chai'
import fc from 'fast-check'
import { RecordDecoder, encodeJsonRecord, encodeRecord } from '../../../scheduler/mesos/recordio.ts'

const decodeAll = (decoder: RecordDecoder, pieces: Uint8Array[]): string[] =>
  pieces.flatMap((piece) => decoder.push(piece).map((record) => Buffer.from(record).toString()))

describe('RecordIO', () => {
  const bodies = ['{"type":"HEARTBEAT"}', '7\n12', '\u00e4\u20ac\u{1f600}', '\n', '0'.repeat(130)]
  const stream = Buffer.concat(bodies.map((body) => encodeRecord(body)))

  it('finds the same records at every split into two and three pieces', () => {
    for (let first = 0; first <= stream.length; first++) {
      for (let second = first; second <= stream.length; second += 7) {
        const decoder = new RecordDecoder()
        const pieces = [stream.subarray(0, first), stream.subarray(first, second), stream.subarray(second)]
        expect(decodeAll(decoder, pieces)).to.deep.equal(bodies)
        expect(decoder.atBoundary).to.equal(true)
      }
    }
  })

  it('finds the same records byte by byte', () => {
    expect(decodeAll(new RecordDecoder(), [...stream].map((byte) => Uint8Array.of(byte)))).to.deep.equal(bodies)
  })

  it('property: any records, any cuts', () => {
    fc.assert(fc.property(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 12 }),
      fc.array(fc.nat(4000), { maxLength: 20 }),
      (records, cuts) => {
        const bytes = Buffer.concat(records.map((record) => encodeRecord(record)))
        const edges = [0, ...cuts.map((cut) => Math.min(cut, bytes.length)).sort((a, b) => a - b), bytes.length]
        const decoder = new RecordDecoder()
        const found = edges.slice(1).flatMap((edge, index) => decoder.push(bytes.subarray(edges[index], edge)).map((record) => Buffer.from(record)))
        expect(found).to.deep.equal(records.map((record) => Buffer.from(record)))
        expect(decoder.atBoundary).to.equal(true)
      }
    ), { numRuns: 200 })
  })

  it('counts bytes, not characters', () => {
    expect(encodeJsonRecord('\u20ac').toString()).to.equal('5\n"\u20ac"')
  })

  it('knows when the stream is cut within a record', () => {
    for (let end = 1; end < encodeRecord(bodies[0]).length; end++) {
      const decoder = new RecordDecoder()
      decoder.push(stream.subarray(0, end))
      expect(decoder.atBoundary, `cut at ${end}`).to.equal(false)
    }
  })

  for (const [name, bytes] of [
    ['a length that is not a number', '12a\n'],
    ['a record without a length', '\n{}'],
    ['a length of zero', '0\n'],
    ['a length with a sign', '-5\nhello'],
    ['a length above the bound', '2000\n'],
    ['a length that never ends', '0'.repeat(40)]
  ]) {
    it(`refuses ${name} and stays broken`, () => {
      const decoder = new RecordDecoder({ recordLengthMaxBytes: 1000 })
      expect(() => decoder.push(Buffer.from(bytes))).to.throw().with.property('code', 'ATOLL_BAD_MESSAGE')
      expect(() => decoder.push(Buffer.from('2\n{}'))).to.throw().with.property('code', 'ATOLL_BAD_MESSAGE')
    })
  }
})
