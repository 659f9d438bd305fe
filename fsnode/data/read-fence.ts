import type { DataPartition, NodeId } from '../../partitioning/types.ts'
import type { Clock, Timer } from '../protocol/ports.ts'
import type { ClusterRouter } from '../protocol/router.ts'
import { readLeaseMarginMs, readLeaseMs } from './constants.ts'

/** One question whether a replica has left an epoch behind, and the pause before the next. */
export const passedTimeoutMs = 250
export const passedRetryMs = 20

/** Whom a primary has granted read leases that may not have run out. */
export class ReadGrants {
  private readonly clock: Clock
  private readonly until = new Map<NodeId, number>()

  constructor (clock: Clock) {
    this.clock = clock
  }

  grant (node: NodeId): void { this.until.set(node, this.clock.now() + readLeaseMs + readLeaseMarginMs) }

  get holders (): NodeId[] {
    const now = this.clock.now()
    return [...this.until].filter(([, untilMs]) => untilMs > now).map(([node]) => node)
  }
}

interface Claim { timer: Timer }

/**
 * No write is acknowledged while replicas may serve reads that are not asked: until their leases have run out, or they
 * have learned of an epoch in which they ask this primary anew.
 */
export class ReadFence {
  private readonly components: { clock: Clock, router: ClusterRouter }
  private readonly partition: () => DataPartition
  private readonly lifted: () => void
  private readonly claims = new Set<Claim>()

  constructor (components: { clock: Clock, router: ClusterRouter }, partition: () => DataPartition, lifted: () => void) {
    this.components = components
    this.partition = partition
    this.lifted = lifted
  }

  get isUp (): boolean { return this.claims.size > 0 }

  /** `readers`: who may serve reads; null: nobody knows, so that the leases must run out. */
  raise (readers: () => Promise<readonly NodeId[] | null>): void {
    const { clock } = this.components
    const claim: Claim = { timer: clock.setTimer(() => { this.lift(claim) }, readLeaseMs + readLeaseMarginMs) }
    this.claims.add(claim)
    void this.ask(claim, readers)
  }

  close (): void {
    for (const { timer } of this.claims) timer.cancel()
    this.claims.clear()
  }

  private async ask (claim: Claim, readers: () => Promise<readonly NodeId[] | null>): Promise<void> {
    const { epoch } = this.partition()
    const nodes = await this.until(claim, readers)
    if (nodes === null) return
    const passed = await Promise.all(nodes.map((node) => this.until(claim, () => this.hasPassed(node, epoch))))
    if (passed.every((one) => one === true) && this.claims.has(claim)) this.lift(claim)
  }

  private async hasPassed (node: NodeId, epoch: number): Promise<true> {
    await this.components.router.toNode(node, 'replica.passed', { partition: this.partition().id, epoch }, { timeoutMs: passedTimeoutMs })
    return true
  }

  /** Tries again as long as the claim stands; null: it does no longer. */
  private async until<T> (claim: Claim, attempt: () => Promise<T>): Promise<T | null> {
    while (this.claims.has(claim)) {
      try {
        return await attempt()
      } catch {
        await new Promise<void>((resolve) => { this.components.clock.setTimer(resolve, passedRetryMs) })
      }
    }
    return null
  }

  private lift (claim: Claim): void {
    claim.timer.cancel()
    this.claims.delete(claim)
    if (!this.isUp) this.lifted()
  }
}
