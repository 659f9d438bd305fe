import type { Clock } from '../../fsnode/protocol/ports.ts'

/** Of a listing this many names come without attributes, to see whether they are looked up, */
export const probesPerListing = 2
/** not before this many entries: of a short listing the attributes cost little. */
export const probesFrom = 16
/** So many listings in a row of which no probe was looked up, and the process gets names only. */
export const unusedListingsMin = 2
/** A process that has listed nothing for so long is another one. */
export const habitMs = 5_000
export const habitsMax = 256
export const listingsMax = 256

interface Habit { unused: number, last: Listing | null, at: number }

/** One pass of a process over a directory. */
export class Listing {
  used = false
  readonly habit: Habit
  private readonly namesOnly: boolean
  private readonly probes = new Set<string>()
  private count = 0

  constructor (habit: Habit, namesOnly: boolean) {
    this.habit = habit
    this.namesOnly = namesOnly
  }

  /** Whether it shows what its process does with the names. */
  get isTelling (): boolean { return this.namesOnly || this.probes.size > 0 }

  /** Whether the next entry is given attributes. */
  wantsAttributes (name: string, isDirectory: boolean): boolean {
    if (this.namesOnly || this.probes.has(name)) return false
    // Directories are looked up by whoever goes on to list them.
    if (this.count++ < probesFrom || isDirectory || this.probes.size >= probesPerListing) return true
    this.probes.add(name)
    return false
  }

  isAbout (name: string): boolean { return this.namesOnly || this.probes.has(name) }
}

/**
 * Whether READDIRPLUS is worth its price for who reads a directory. Attributes save a LOOKUP for each name that is used
 * afterwards (ls -l, grep -r, rm -r), and cost more than the names where none is (find -name, completion). The kernel does not tell what
 * it answers from its cache; so some names are held back, and who never looks those up is not given the attributes of the next directory.
 */
export class ListingHabits {
  private readonly clock: Clock
  /** By process, and by directory; the oldest first. */
  private readonly habits = new Map<number, Habit>()
  private readonly listings = new Map<number, Listing>()

  constructor (clock: Clock) { this.clock = clock }

  begin (pid: number, dir: number): Listing {
    const habit = this.habitOf(pid)
    if (habit.last?.isTelling === true) habit.unused = habit.last.used ? 0 : habit.unused + 1
    const listing = new Listing(habit, habit.unused >= unusedListingsMin)
    habit.last = listing
    put(this.listings, dir, listing, listingsMax)
    return listing
  }

  lookedUp (dir: number, name: string): void {
    const listing = this.listings.get(dir)
    if (listing?.isAbout(name) !== true) return
    listing.used = true
    listing.habit.unused = 0
  }

  private habitOf (pid: number): Habit {
    const now = this.clock.now()
    const known = this.habits.get(pid)
    const habit = known !== undefined && now - known.at < habitMs ? known : { unused: 0, last: null, at: now }
    habit.at = now
    put(this.habits, pid, habit, habitsMax)
    return habit
  }
}

function put<Value> (map: Map<number, Value>, key: number, value: Value, sizeMax: number): void {
  map.delete(key)
  map.set(key, value)
  if (map.size > sizeMax) map.delete(map.keys().next().value!)
}
