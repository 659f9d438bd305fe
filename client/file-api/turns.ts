/** Runs work for the same key one after another, in the order of the calls. */
export class Turns {
  private readonly last = new Map<unknown, Promise<unknown>>()

  async take<T> (key: unknown, work: () => Promise<T>): Promise<T> {
    const before = this.last.get(key)
    const turn = before === undefined ? work() : before.then(work, work)
    this.last.set(key, turn)
    try {
      return await turn
    } finally {
      if (this.last.get(key) === turn) this.last.delete(key)
    }
  }
}
