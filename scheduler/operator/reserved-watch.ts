import { messageOf } from '../../fsnode/protocol/errors.ts'
import type { Clock, Logger, Timer } from '../../fsnode/protocol/ports.ts'
import { labelCluster, labelResourceId } from '../framework/constants.ts'
import type { Framework } from '../framework/index.ts'
import type { MasterCredentials } from '../mesos/client.ts'
import type { HttpPost } from '../mesos/http.ts'
import { askMaster, operatorUrl, readAgents } from '../mesos/operator-client.ts'
import type { AgentListing } from '../mesos/operator-client.ts'

export const lookIntervalMs = 3_000

export interface ReservedWatchComponents { clock: Clock, log: Logger, post: HttpPost }

/** Resource ids of reservations with a cluster's label. */
export function reservedFor (clusterId: string, { agents }: AgentListing): string[] {
  const ids = agents.flatMap(({ resources }) => resources.flatMap(({ reservations }) => {
    const labels = reservations?.at(-1)?.labels?.labels ?? []
    const valueOf = (key: string): string | undefined => labels.find((label) => label.key === key)?.value
    return valueOf(labelCluster) === clusterId ? valueOf(labelResourceId) ?? [] : []
  }))
  return [...new Set(ids)]
}

/** While a framework gives everything back, asks the master what is left: the proof, where the master lets us look. */
export class ReservedWatch {
  readonly #components: ReservedWatchComponents
  readonly #framework: Framework
  readonly #credentials: MasterCredentials | undefined
  #timer: Timer | undefined
  #closed = false

  constructor (components: ReservedWatchComponents, framework: Framework, credentials?: MasterCredentials) {
    this.#components = components
    this.#framework = framework
    this.#credentials = credentials
    this.#schedule()
  }

  close (): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  #schedule (): void {
    if (this.#closed) return
    this.#timer = this.#components.clock.setTimer(() => { this.#look().finally(() => { this.#schedule() }) }, lookIntervalMs)
  }

  async #look (): Promise<void> {
    const { goal, master, clusterId } = this.#framework.status()
    if (goal !== 'uninstalling' || master === null) return
    try {
      const answer = await askMaster(this.#components, operatorUrl(master), { type: 'GET_AGENTS' }, this.#credentials)
      const listing = readAgents(answer)
      if (!this.#closed) await this.#framework.noteReserved({ resourceIds: reservedFor(clusterId, listing), agentIds: listing.agents.map(({ agentId }) => agentId) })
    } catch (error) {
      this.#components.log.debug('the master does not tell what is reserved', { reason: messageOf(error) })
    }
  }
}
