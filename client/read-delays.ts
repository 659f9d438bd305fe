import type { NodeId } from '../partitioning/types.ts'
import type { Clock } from '../fsnode/protocol/ports.ts'
import { delayHalvesMs, delayNodesMax, delaysKept, failureAvoidedMs, readUnitBytes } from './bounds.ts'

/** Weight of a new value in what is known: bad news count more. */
const slowerWeight = 0.4
const quickerWeight = 0.1
const usualPart = 0.95
/** The usual delay is found anew after so many reads. */
const usualAgeReads = 32

interface NodeDelay { perUnitMs: number | null, atMs: number, unitsInFlight: number, avoidedUntilMs: number }

/** How a read ended: with bytes, with a failure of the node, or with one that says nothing about its speed. */
export type ReadEnd = 'answered' | 'failed' | 'unmeasured'

/**
 * How long nodes take to answer reads, as seen from here. Reads of different lengths are compared by units: a fixed part and
 * the bytes. What is known of a node fades, so that one that was slow is tried again.
 */
export class ReadDelays {
  private readonly clock: Clock
  private readonly nodes = new Map<NodeId, NodeDelay>()
  /** The last ones, per unit, in a ring. */
  private readonly last = new Float64Array(delaysKept)
  private count = 0
  private usual: number | null = null

  constructor (clock: Clock) {
    this.clock = clock
  }

  /** A read is on its way to the node; call the answer when it has ended. */
  begin (node: NodeId, bytes: number): (end: ReadEnd) => void {
    const units = unitsOf(bytes)
    const delay = this.delay(node)
    const beganMs = this.clock.now()
    delay.unitsInFlight += units
    return (end) => {
      delay.unitsInFlight -= units
      if (end === 'unmeasured') return
      const now = this.clock.now()
      if (end === 'failed') {
        delay.avoidedUntilMs = now + failureAvoidedMs
        return
      }
      const perUnitMs = (now - beganMs) / units
      const known = this.faded(delay, now)
      delay.perUnitMs = known === null ? perUnitMs : known + (perUnitMs > known ? slowerWeight : quickerWeight) * (perUnitMs - known)
      delay.atMs = now
      this.note(perUnitMs)
    }
  }

  /** What a small read would wait there, with those on their way before it; undefined: nothing was measured. For a while after a failure: forever. */
  of (node: NodeId): number | undefined {
    const delay = this.nodes.get(node)
    if (delay === undefined) return undefined
    const now = this.clock.now()
    if (now < delay.avoidedUntilMs) return Infinity
    const known = this.faded(delay, now)
    return known === null ? undefined : known * (1 + delay.unitsInFlight)
  }

  /** What all but the slowest twentieth of reads of so many bytes wait at most; null: too few were measured. */
  usualMs (bytes: number): number | null {
    return this.usual === null ? null : this.usual * unitsOf(bytes)
  }

  private delay (node: NodeId): NodeDelay {
    let delay = this.nodes.get(node)
    if (delay === undefined) {
      if (this.nodes.size >= delayNodesMax) this.nodes.delete(this.nodes.keys().next().value!)
      delay = { perUnitMs: null, atMs: 0, unitsInFlight: 0, avoidedUntilMs: -Infinity }
      this.nodes.set(node, delay)
    }
    return delay
  }

  private faded ({ perUnitMs, atMs }: NodeDelay, now: number): number | null {
    return perUnitMs === null ? null : perUnitMs * 2 ** (-(now - atMs) / delayHalvesMs)
  }

  private note (perUnitMs: number): void {
    this.last[this.count++ % delaysKept] = perUnitMs
    if (this.count % usualAgeReads !== 0) return
    const sorted = this.last.slice(0, Math.min(this.count, delaysKept)).sort()
    this.usual = sorted[Math.floor(sorted.length * usualPart)]!
  }
}

function unitsOf (bytes: number): number { return 1 + bytes / readUnitBytes }
