import { expect } from 'chai'
import fc from 'fast-check'
import { homeElsewhere, homeOfRootChild, shareElsewhere, spreadFactor, spreadInodesMin, type Filling } from '../../partitioning/directory-homes.ts'
import { SimRandom } from '../sim/random.ts'

const million = 1_000_000

function fillings (...inodes: number[]): Filling[] { return inodes.map((count, at) => ({ index: at + 1, inodes: count })) }

describe('where new directories live', () => {
  for (const [what, inodes, others, share] of [
    ['small ones keep all', spreadInodesMin - 1, [0, 0], 0],
    ['of no other one anything is known', million, [], 0],
    ['all are equal', million, [million, million], 0],
    ['a little more than its share', 1.2 * million, [0.9 * million, 0.9 * million], 0],
    ['an empty neighbour', million, [0], 0.5],
    ['three empty neighbours', million, [0, 0, 0], 0.75],
    ['twice its share', million, [400_000, 100_000], 0.5],
    ['the emptiest', 300_000, [million, million], 0]
  ] as const) {
    it(`the share made elsewhere is ${share}: ${what}`, () => {
      expect(shareElsewhere(inodes, fillings(...others))).to.be.closeTo(share, 1e-9)
    })
  }

  it('of two that are drawn the emptier one is taken, of those with less than their share', () => {
    const others = fillings(900_000, 10, 200_000, 2 * million)
    // Those with less than the mean, 1.02 million: the first three.
    expect(homeElsewhere(2 * million, others, [0, 0])).to.equal(2)
    expect(homeElsewhere(2 * million, others, [0, 0.99])).to.equal(3)
    expect(homeElsewhere(2 * million, others, [0.5, 0])).to.equal(2)
    expect(homeElsewhere(million, fillings(5), [0.99, 0.99])).to.equal(1)
    expect(homeElsewhere(million, fillings(million, million), [0, 0])).to.equal(null)
  })

  it('a directory goes only to a partition that is known and holds less than the mean, and only from one with more than its share', () => {
    const counts = fc.array(fc.integer({ min: 0, max: 3 * million }), { minLength: 1, maxLength: 9 })
    const unit = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true })
    fc.assert(fc.property(fc.integer({ min: 0, max: 3 * million }), counts, unit, unit, (inodes, known, one, other) => {
      const others = fillings(...known)
      const mean = known.reduce((sum, count) => sum + count, inodes) / (known.length + 1)
      const share = shareElsewhere(inodes, others)
      expect(share).to.be.within(0, 0.999999999)
      expect(share > 0).to.equal(inodes >= spreadInodesMin && inodes > mean * spreadFactor)
      const home = homeElsewhere(inodes, others, [one, other])
      if (share > 0) expect(home).to.not.equal(null)
      if (home !== null) expect(others.find(({ index }) => index === home)!.inodes).to.be.lessThan(mean)
    }))
  })

  it('children of the root are spread evenly', () => {
    const counts = new Array<number>(7).fill(0)
    for (let at = 0; at < 7_000; at++) counts[homeOfRootChild(`user-${at}`, 7)]!++
    for (const count of counts) expect(count).to.be.within(850, 1_150)
  })

  /** Trees of files, each made in one go below one busy directory, in a volume whose partitions know each other's filling as of some trees ago. */
  function grow ({ partitions, filled, trees, inodesPerTree, directoriesPerTree, seed }: { partitions: number, filled: number, trees: number, inodesPerTree: number, directoriesPerTree: number, seed: number }): { inodes: number[], elsewhere: number } {
    const random = new SimRandom(seed)
    const inodes = [filled, ...new Array<number>(partitions - 1).fill(0)]
    let elsewhere = 0
    let known: Filling[] = []
    for (let tree = 0; tree < trees; tree++) {
      if (tree % 5 === 0) known = inodes.map((count, index) => ({ index, inodes: count }))
      let home = 0
      for (let directory = 0; directory < directoriesPerTree; directory++) {
        const others = known.filter(({ index }) => index !== home)
        if (random.next() < shareElsewhere(inodes[home]!, others)) {
          home = homeElsewhere(inodes[home]!, others, [random.next(), random.next()]) ?? home
          elsewhere++
        }
        inodes[home]! += inodesPerTree / directoriesPerTree
      }
    }
    return { inodes, elsewhere }
  }

  it('a volume of one full partition that gets others fills those, whatever is made, until all hold about as much', () => {
    for (let seed = 1; seed <= 10; seed++) {
      const partitions = 2 + seed
      const { inodes } = grow({ partitions, filled: million, trees: 2_000 * partitions, inodesPerTree: 5_000, directoriesPerTree: 50, seed })
      const mean = inodes.reduce((sum, count) => sum + count, 0) / partitions
      expect(Math.max(...inodes) / mean, `${partitions}: ${inodes.join(' ')}`).to.be.lessThan(1.35)
    }
  })

  it('a tree stays together: where all is even, or small, no directory is made elsewhere, and where one partition is full one in hundreds', () => {
    expect(grow({ partitions: 4, filled: 0, trees: 40, inodesPerTree: 5_000, directoriesPerTree: 500, seed: 1 }).elsewhere).to.equal(0)
    const { elsewhere } = grow({ partitions: 4, filled: million, trees: 400, inodesPerTree: 5_000, directoriesPerTree: 500, seed: 1 })
    expect(elsewhere / (400 * 500)).to.be.within(0.001, 0.01)
  })
})
