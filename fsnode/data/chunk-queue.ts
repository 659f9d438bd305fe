interface Waiting { shared: boolean, start: () => void }

/**
 * First come, first served: tasks that change something run alone, neighbouring ones that only read
 * run together. A task that finds the queue empty starts within the call.
 */
export class ChunkQueue {
  private waiting: Waiting[] = []
  private running = 0
  private exclusive = false

  get idle (): boolean { return this.running === 0 && this.waiting.length === 0 }

  run<T> (shared: boolean, task: () => Promise<T>): Promise<T> {
    if (this.waiting.length === 0 && this.admits(shared)) return this.start(shared, task)
    return new Promise((resolve, reject) => {
      this.waiting.push({ shared, start: () => { this.start(shared, task).then(resolve, reject) } })
    })
  }

  private admits (shared: boolean): boolean {
    return this.running === 0 || (shared && !this.exclusive)
  }

  private async start<T> (shared: boolean, task: () => Promise<T>): Promise<T> {
    this.running++
    this.exclusive = !shared
    try {
      return await task()
    } finally {
      this.running--
      this.next()
    }
  }

  private next (): void {
    let count = 0
    while (count < this.waiting.length && this.admits(this.waiting[count]!.shared)) this.waiting[count++]!.start()
    if (count > 0) this.waiting.splice(0, count)
  }
}
