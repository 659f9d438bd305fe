import type { Intent, IntentKey } from '../intents.ts'

interface Pledge { session: string, keys: ReadonlySet<IntentKey>, over: Promise<void>, end: (error?: Error) => void }

/**
 * What transactions under way are going to change for the sessions whose operations they are. Their own leases on it are not
 * recalled, and who holds a lease exclusively reads and decides past everybody's intents: of this it must not.
 */
export class Pledges {
  private readonly all = new Set<Pledge>()

  /** @returns what ends it: the parts have happened, or never will. */
  hold (session: string, intents: readonly Intent[]): () => void {
    let end: Pledge['end'] = () => {}
    const over = new Promise<void>((resolve, reject) => { end = (error) => { error === undefined ? resolve() : reject(error) } })
    over.catch(() => {}) // heard by who waits
    const pledge: Pledge = { session, keys: new Set(intents.map(({ key }) => key)), over, end }
    this.all.add(pledge)
    return () => {
      this.all.delete(pledge)
      end()
    }
  }

  /** What to await before the session may see or change the inode under its own lease; null: nothing. */
  of (session: string, ino: number): Promise<void> | null {
    if (this.all.size === 0) return null
    for (const pledge of this.all) if (pledge.session === session && pledge.keys.has(ino)) return pledge.over
    return null
  }

  /** Everybody who waits fails. */
  close (error: Error): void {
    for (const { end } of this.all) end(error)
  }
}
