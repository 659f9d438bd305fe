/** A binary heap of vertices, the greatest key first; ties by the lower vertex. Keys and places are shared arrays. */
export class VertexHeap {
  private readonly items: number[] = []
  private readonly key: Float64Array
  private readonly place: Int32Array

  /** `place` holds -1 for every vertex that is in no heap. A vertex is in at most one. */
  constructor (key: Float64Array, place: Int32Array) {
    this.key = key
    this.place = place
  }

  get first (): number { return this.items.length === 0 ? -1 : this.items[0]! }

  push (vertex: number): void {
    this.items.push(vertex)
    this.rise(this.items.length - 1, vertex)
  }

  pop (): number {
    const { items } = this
    const top = items[0]!
    const moved = items.pop()!
    this.place[top] = -1
    if (items.length > 0) this.sink(0, moved)
    return top
  }

  /** Call after the vertex's key changed; does nothing for one that is not in a heap. */
  update (vertex: number): void {
    const at = this.place[vertex]!
    if (at < 0) return
    this.rise(at, vertex)
    this.sink(this.place[vertex]!, vertex)
  }

  private before (one: number, other: number): boolean {
    const difference = this.key[one]! - this.key[other]!
    return difference > 0 || (difference === 0 && one < other)
  }

  private rise (at: number, vertex: number): void {
    const { items, place } = this
    while (at > 0) {
      const above = (at - 1) >> 1
      if (!this.before(vertex, items[above]!)) break
      items[at] = items[above]!
      place[items[at]!] = at
      at = above
    }
    items[at] = vertex
    place[vertex] = at
  }

  private sink (at: number, vertex: number): void {
    const { items, place } = this
    for (;;) {
      let child = 2 * at + 1
      if (child >= items.length) break
      if (child + 1 < items.length && this.before(items[child + 1]!, items[child]!)) child++
      if (!this.before(items[child]!, vertex)) break
      items[at] = items[child]!
      place[items[at]!] = at
      at = child
    }
    items[at] = vertex
    place[vertex] = at
  }
}
