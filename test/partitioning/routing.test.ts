import { expect } from 'chai'
import { dataIndexOfChunk, dataPartitionId, dataPartitionOfChunk, holdsChunk, placeOfChunk } from '../../partitioning/routing.ts'
import { SimRandom } from '../sim/random.ts'

/** A volume whose partitions are split one after the other, in any order. */
class Splits {
  readonly spans: Array<number | undefined>
  level: number

  constructor (partitions: number) {
    this.level = partitions
    this.spans = Array.from({ length: partitions }, () => undefined)
  }

  split (index: number): void {
    this.spans[index] = this.spans[index + this.level] = 2 * this.level
  }

  /** Those that are still to be split before there are twice as many. */
  get left (): number[] {
    return Array.from({ length: this.level }, (_, index) => index).filter((index) => (this.spans[index] ?? this.level) === this.level)
  }

  double (): void {
    for (const index of this.left) this.split(index)
    this.level *= 2
  }

  indexOf (ino: number, chunk: number, base: number = this.level): number { return dataIndexOfChunk(ino, chunk, base, (index) => this.spans[index]) }
}

function chunksOf (random: SimRandom, count: number): Array<[ino: number, chunk: number]> {
  return Array.from({ length: count }, () => [random.below(2 ** 20) + random.below(3) * 2 ** 41, random.below(random.pick([4, 1_000_000]))])
}

describe('routing of chunks to partitions that are split', () => {
  it('a split moves a chunk nowhere but to the partition that is split off, and moves half of them', () => {
    const random = new SimRandom(1)
    for (const partitions of [1, 2, 3, 8, 12, 96]) {
      const volume = new Splits(partitions)
      const chunks = chunksOf(random, 2_000)
      for (const index of volume.left.sort(() => random.next() - 0.5)) {
        const before = chunks.map(([ino, chunk]) => volume.indexOf(ino, chunk))
        volume.split(index)
        let moved = 0
        chunks.forEach(([ino, chunk], at) => {
          const now = volume.indexOf(ino, chunk)
          if (now === before[at]) return
          moved++
          expect([before[at], now]).to.deep.equal([index, index + partitions])
        })
        const held = before.filter((one) => one === index).length
        expect(Math.abs(moved - held / 2)).to.be.at.most(5 * Math.sqrt(held) + 1)
      }
    }
  })

  it('when all are split, chunks are where a volume that was made with so many would have them', () => {
    const random = new SimRandom(2)
    for (const partitions of [1, 3, 8]) {
      const volume = new Splits(partitions)
      volume.double()
      volume.double()
      for (const [ino, chunk] of chunksOf(random, 1_000)) expect(volume.indexOf(ino, chunk)).to.equal(placeOfChunk(ino, chunk) % (4 * partitions))
    }
  })

  it('who learned of the volume before it was split finds the same partitions, and each partition knows its own chunks', () => {
    const random = new SimRandom(3)
    const volume = new Splits(5)
    volume.double()
    for (const index of [1, 4, 7]) volume.split(index)
    for (const [ino, chunk] of chunksOf(random, 2_000)) {
      const index = volume.indexOf(ino, chunk)
      expect(volume.indexOf(ino, chunk, 5)).to.equal(index)
      const holders = volume.spans.flatMap((span, candidate) => span !== undefined && holdsChunk({ index: candidate, span }, ino, chunk) ? [candidate] : [])
      expect(holders).to.deep.equal([index])
      expect(dataPartitionOfChunk({ id: 7, dataPartitions: 5 }, ino, chunk, (id) => volume.spans[Number(id.split('.')[2])])).to.equal(dataPartitionId(7, index))
    }
  })

  it('consecutive chunks of a file stay on consecutive partitions', () => {
    const volume = new Splits(6)
    volume.double()
    const first = volume.indexOf(99, 0)
    for (let chunk = 0; chunk < 30; chunk++) expect(volume.indexOf(99, chunk)).to.equal((first + chunk) % 12)
  })

  it('a partition that never was split takes every chunk for its own', () => {
    expect(holdsChunk({ index: 3 }, 5, 6)).to.equal(true)
  })
})
