/**
 * What the operations under way on a leader are about to change, so that nothing is read and cached
 * between a recall and the change that it was for. Nobody holds intents while waiting for others.
 */

/** An inode number, or '<directory>/<name>', or the name of a right. */
export type IntentKey = number | string

/**
 * write: excludes everything. change: of names in a directory; excludes read and write. read: of an
 * inode's attributes or all names of a directory. look: for one name of a directory; excludes only write.
 */
export type IntentMode = 'write' | 'change' | 'read' | 'look'

export interface Intent { key: IntentKey, mode: IntentMode }

const bits = { write: 1, change: 2, read: 4, look: 8 } as const
const conflicting = { write: 15, change: bits.write | bits.read, read: bits.write | bits.change, look: bits.write } as const

interface Waiter { ticket: number, mode: IntentMode, woken: boolean, wake: () => void, fail: (error: Error) => void }

interface Resource {
  write: number
  change: number
  read: number
  look: number
  waiters: Waiter[]
  /** Whose changes are under way; null: those of several. */
  changer: string | null
}

export class Intents {
  private readonly resources = new Map<IntentKey, Resource>()
  private nextTicket = 1
  private closedWith: Error | null = null

  /** Orders those who wait: a later one does not overtake an earlier one with which it conflicts. */
  ticket (): number { return this.nextTicket++ }

  /** Takes all and returns null, or takes none and returns what to await before trying again with the same ticket. */
  tryTake (intents: readonly Intent[], ticket: number, by = ''): Promise<void> | null {
    for (const { key, mode } of intents) {
      const blocked = this.blocked(key, mode, ticket)
      if (blocked !== null) return blocked
    }
    for (const { key, mode } of intents) {
      const resource = this.resource(key)
      if (mode === 'change') resource.changer = resource.change === 0 || resource.changer === by ? by : null
      resource[mode]++
    }
    return null
  }

  /** Whether nobody else has been changing the directory's names since this caller began to. */
  isOnlyChanger (key: IntentKey, by: string): boolean { return this.resources.get(key)?.changer === by }

  /** For the holder of an exclusive lease, whom others are asking to write back: beside what they hold. */
  force (key: IntentKey): void { this.resource(key).write++ }

  /** Without asking: for what an earlier leader held, before anything is served. */
  hold (key: IntentKey, mode: IntentMode): void { this.resource(key)[mode]++ }

  /** null if nobody else writes beside the caller, who holds a write; otherwise what to await. */
  others (key: IntentKey): Promise<void> | null {
    const resource = this.resources.get(key)
    if (resource === undefined || resource.write <= 1) return null
    return this.wait(key, resource, 'look', Infinity)
  }

  release (intents: readonly Intent[]): void {
    for (const { key, mode } of intents) {
      const resource = this.resources.get(key)
      if (resource === undefined) continue
      resource[mode]--
      this.changed(key, resource)
    }
  }

  /** For whoever is done in the same turn: null if nothing stands in the way, otherwise what to await. */
  blocked (key: IntentKey, mode: IntentMode, ticket: number): Promise<void> | null {
    const resource = this.resources.get(key)
    if (resource === undefined || !conflicts(resource, mode, ticket)) return null
    if (this.closedWith !== null) return Promise.reject(this.closedWith)
    return this.wait(key, resource, mode, ticket)
  }

  /** Whether somebody holds it. */
  isTaken (key: IntentKey, mode: IntentMode): boolean {
    return (this.resources.get(key)?.[mode] ?? 0) > 0
  }

  /** Keys that somebody holds or waits for. */
  get size (): number { return this.resources.size }

  count (key: IntentKey, mode: IntentMode): number { return this.resources.get(key)?.[mode] ?? 0 }

  /** Whoever waits with the ticket no longer does, and holds nobody back. */
  abandon (ticket: number): void {
    for (const [key, resource] of this.resources) {
      const left = resource.waiters.filter((waiter) => waiter.ticket !== ticket)
      if (left.length === resource.waiters.length) continue
      resource.waiters = left
      this.changed(key, resource)
    }
  }

  /** Everybody who waits, now or later, fails. */
  close (error: Error): void {
    this.closedWith = error
    for (const { waiters } of this.resources.values()) for (const { fail } of waiters.splice(0)) fail(error)
  }

  /** `ticket` Infinity: holds nobody back. */
  private async wait (key: IntentKey, resource: Resource, mode: IntentMode, ticket: number): Promise<void> {
    let waiter: Waiter
    const woken = new Promise<void>((resolve, reject) => {
      waiter = { ticket, mode, woken: false, wake: () => { waiter.woken = true; resolve() }, fail: reject }
    })
    resource.waiters.push(waiter!)
    // Until it goes on, its place in the queue holds back later ones.
    await woken
    const at = resource.waiters.indexOf(waiter!)
    if (at >= 0) resource.waiters.splice(at, 1)
    // It may take nothing, and so release nothing: whoever came since it was woken waits for its place only.
    for (const other of resource.waiters) if (!other.woken && !conflicts(resource, other.mode, other.ticket)) other.wake()
    this.dropIfIdle(key, resource)
  }

  private resource (key: IntentKey): Resource {
    let resource = this.resources.get(key)
    if (resource === undefined) {
      resource = { write: 0, change: 0, read: 0, look: 0, waiters: [], changer: null }
      this.resources.set(key, resource)
    }
    return resource
  }

  private changed (key: IntentKey, resource: Resource): void {
    if (resource.waiters.length > 0) for (const { wake } of resource.waiters) wake()
    else this.dropIfIdle(key, resource)
  }

  private dropIfIdle (key: IntentKey, resource: Resource): void {
    if (resource.waiters.length + resource.write + resource.change + resource.read + resource.look > 0) return
    if (this.resources.get(key) === resource) this.resources.delete(key)
  }
}

function conflicts (resource: Resource, mode: IntentMode, ticket: number): boolean {
  const against = conflicting[mode]
  if (resource.write > 0 || ((against & bits.change) !== 0 && resource.change > 0) || ((against & bits.read) !== 0 && resource.read > 0) ||
    ((against & bits.look) !== 0 && resource.look > 0)) return true
  return resource.waiters.some((waiter) => waiter.ticket < ticket && (against & bits[waiter.mode]) !== 0)
}
