import { setTimeout as delay } from 'node:timers/promises'
import type { Cluster } from '../../client/connect.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { PlanSummary } from '../../fsnode/protocol/manager.ts'
import type { ClusterMap } from '../../partitioning/types.ts'
import { startProgress } from '../output.ts'
import { isOver, requireDone, summaryLine } from '../plan-summary.ts'

const pollMs = 500

export interface MovesInit {
  /** The newest plan before the volume was changed. */
  planBefore: number
  /** Whether what is only uneven is to move, too. */
  isOtherPolicy: boolean
  quiet: boolean
  /** Between two looks. */
  pause?: () => Promise<unknown>
}

export async function newestPlan ({ router }: Pick<Cluster, 'router'>): Promise<number> {
  return Math.max(0, ...(await router.toManager('manager.plans', {})).body.plans.map(({ id }) => id))
}

/**
 * Resolves when what follows for the replicas of a volume from its new settings is carried out, with the plan for it, and its metadata partitions
 * have the members that they shall; null when there was no plan. Rejects with ATOLL_PLAN_NOT_DONE.
 */
export async function untilMoved (cluster: Pick<Cluster, 'router'>, name: string, { planBefore, isOtherPolicy, quiet, pause = () => delay(pollMs) }: MovesInit): Promise<PlanSummary | null> {
  const progress = startProgress(quiet)
  try {
    for (let told = ''; ; await pause()) {
      const { plans, settings, undecided, membersPending = 0 } = (await cluster.router.toManager('manager.plans', { volume: name })).body
      const plan = plans.find((one) => one.kind !== 'move' && one.phase !== 'replaced' && (one.id > planBefore || !isOver(one)))
      const isDecided = undecided !== true && (plan === undefined || isOver(plan))
      const wrong = isDecided ? wrongPartitions((await cluster.router.toManager('manager.map', { after: 0, waitMs: 0 })).body.map!, name) : 0
      if (isDecided) {
        if (plan !== undefined) requireDone(plan)
        else if (!settings.automatic && (wrong > 0 || isOtherPolicy)) throw nothingMoves(name)
        if (wrong + membersPending === 0) {
          progress.done(plan !== undefined ? summaryLine(plan) : told === '' ? 'nothing had to move' : 'all is where it is to be')
          return plan ?? null
        }
      }
      const data = undecided === true ? 'waiting for the plan' : plan !== undefined && !isOver(plan) ? summaryLine(plan) : wrong > 0 ? `${wrong} partitions are to be moved yet` : null
      const text = [data, membersPending > 0 ? `${membersPending} metadata partitions are to get other members yet` : null].filter((part) => part !== null).join('; ')
      if (text !== told) progress.step(text)
      told = text
    }
  } catch (error) {
    progress.fail()
    throw error
  }
}

/** How many data partitions have another number of replicas than the volume asks for. */
function wrongPartitions ({ volumes, data }: ClusterMap, name: string): number {
  const volume = volumes.find((candidate) => candidate.name === name)
  return data.filter((partition) => partition.volume === volume?.id && partition.replicas.length !== volume.replicas).length
}

function nothingMoves (name: string): AtollError {
  return new AtollError('ATOLL_PLAN_NOT_DONE', `volume ${name} is changed, but replicas stay where they are: balancing by itself is off`, {
    hint: 'switch it on: atoll partition budget --automatic on'
  })
}
