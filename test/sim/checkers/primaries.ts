import type { SimNode } from '../node.ts'

/** At no moment may two processes believe that they lead a data partition: their leases exclude it, whatever they know. */
export class Primaries {
  private readonly nodes: readonly SimNode[]
  private readonly onViolation: (what: string) => void

  constructor (nodes: readonly SimNode[], onViolation: (what: string) => void) {
    this.nodes = nodes
    this.onViolation = onViolation
  }

  check (): void {
    const leaders = new Map<string, string>()
    for (const { id, running } of this.nodes) {
      if (running === null || !running.agent.leaseValid() || running.router.mapVersion === 0) continue
      for (const partition of running.router.map.data) {
        if (partition.primary !== id) continue
        const other = leaders.get(partition.id)
        if (other !== undefined) this.onViolation(`${other} and ${id} both hold a lease on ${partition.id}`)
        leaders.set(partition.id, id)
      }
    }
  }
}
