import { expect } from 'chai'
import { habitMs, ListingHabits, probesFrom, probesPerListing, unusedListingsMin } from '../../fuse/filesystem/listing-habits.ts'
import { SimClock } from '../sim/clock.ts'

const names = Array.from({ length: 100 }, (_, index) => `n${index}`)

describe('fuse: which entries of a listing are given attributes', () => {
  let clock: SimClock
  let habits: ListingHabits
  beforeEach(() => {
    clock = new SimClock()
    habits = new ListingHabits(clock)
  })

  /** Lists a directory; the names that came without attributes. */
  function list (pid: number, dir: number, among = names, isDirectory = false): string[] {
    const listing = habits.begin(pid, dir)
    return among.filter((name) => !listing.wantsAttributes(name, isDirectory))
  }

  it('all but a few, of a process that is not known', () => {
    expect(list(1, 1).length).to.equal(probesPerListing)
    expect(list(2, 2, names.slice(0, probesFrom))).to.deep.equal([])
    expect(list(3, 3, names, true), 'directories').to.deep.equal([])
  })

  it('none once nobody has looked up what was held back; all again as soon as somebody does', () => {
    for (let dir = 1; dir <= unusedListingsMin; dir++) expect(list(1, dir).length).to.equal(probesPerListing)
    expect(list(1, 10).length).to.equal(names.length)
    expect(list(1, 11).length).to.equal(names.length)
    expect(list(2, 12).length, 'another process').to.equal(probesPerListing)
    habits.lookedUp(11, 'n50')
    expect(list(1, 13).length).to.equal(probesPerListing)
  })

  it('all for who looks up what was held back, whichever thread does, and however many directories there are', () => {
    for (let dir = 1; dir < 50; dir++) {
      const held = list(1, dir)
      expect(held.length).to.equal(probesPerListing)
      habits.lookedUp(dir, held[1]!)
    }
  })

  it('short listings, and names that had their attributes, tell nothing', () => {
    list(1, 1)
    for (let dir = 2; dir < 20; dir++) expect(list(1, dir, names.slice(0, 10))).to.deep.equal([])
    habits.lookedUp(1, 'n0')
    habits.lookedUp(99, 'n0')
    expect(list(1, 30).length).to.equal(probesPerListing)
    expect(list(1, 31).length).to.equal(names.length)
  })

  it('the same answer when an entry did not fit and is asked for again', () => {
    const listing = habits.begin(1, 1)
    const twice = names.flatMap((name) => [listing.wantsAttributes(name, false), listing.wantsAttributes(name, false)])
    expect(twice.filter((wanted) => !wanted).length).to.equal(2 * probesPerListing)
  })

  it('a number that was not heard of for a while is another process', async () => {
    for (let dir = 1; dir <= unusedListingsMin; dir++) list(1, dir)
    await clock.advance(habitMs)
    expect(list(1, 10).length).to.equal(probesPerListing)
  })
})
