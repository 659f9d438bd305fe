import { expect } from 'chai'
import type { Cluster } from '../../client/connect.ts'
import type { PlansResponse, PlanSummary } from '../../fsnode/protocol/manager.ts'
import { newestPlan, untilMoved } from '../../cli/commands/volume-moves.ts'

const planOf = (id: number, more: Partial<PlanSummary> = {}): PlanSummary =>
  ({ id, kind: 'automatic', why: 'even out', phase: 'running', createdMs: 0, endedMs: null, moves: 2, movesDone: 0, movesActive: 1, movesGivenUp: 0, bytes: 10, bytesDone: 0, ...more })

interface Moment { plans?: PlanSummary[], undecided?: boolean, automatic?: boolean, /** Of the volume's only partition; it is to have 2. */ replicas?: number, membersPending?: number }

/** A manager that is at each look one moment further, and at last stays at the last one. */
function clusterOf (moments: Moment[]): { cluster: Pick<Cluster, 'router'>, looks: () => number } {
  let looks = 0
  const toManager = async (method: string): Promise<{ body: unknown }> => {
    const moment = moments[Math.min(method === 'manager.plans' ? looks++ : looks - 1, moments.length - 1)]!
    const plans: PlansResponse = { plans: moment.plans ?? [], settings: { automatic: moment.automatic ?? true, bytesPerSecond: null, copiesPerNode: 1 }, undecided: moment.undecided ?? false, membersPending: moment.membersPending ?? 0 }
    const map = { volumes: [{ id: 1, name: 'main', replicas: 2 }], data: [{ volume: 1, replicas: Array.from({ length: moment.replicas ?? 2 }) }, { volume: 2, replicas: [] }] }
    return { body: method === 'manager.plans' ? plans : { map } }
  }
  return { cluster: { router: { toManager } } as unknown as Pick<Cluster, 'router'>, looks: () => looks }
}

async function wait (moments: Moment[], isOtherPolicy = false): Promise<{ outcome: unknown, looks: number }> {
  const { cluster, looks } = clusterOf(moments)
  const init = { planBefore: 4, isOtherPolicy, quiet: true, pause: async () => { if (looks() > 20) throw new Error('it waits on') } }
  const outcome = await untilMoved(cluster, 'main', init).catch((error) => error.code ?? error.message)
  return { outcome, looks: looks() }
}

describe('volume set --wait', () => {
  const old = planOf(4, { phase: 'ended' })
  const done = planOf(5, { phase: 'ended', movesDone: 2 })

  it('waits until it is decided what moves, then for that plan, and for the one that takes over from it', async () => {
    const moments = [{ plans: [old], undecided: true }, { plans: [planOf(5), old], replicas: 1 }, { plans: [planOf(6), planOf(5, { phase: 'replaced' })], replicas: 1 }, { plans: [{ ...done, id: 6 }, planOf(5, { phase: 'replaced' })] }]
    expect(await wait(moments)).to.deep.equal({ outcome: { ...done, id: 6 }, looks: 4 })
  })

  it('waits for a plan of before that is under way; one that has ended before is not taken for it, nor is a move of an operator', async () => {
    expect(await wait([{ plans: [planOf(4)] }, { plans: [planOf(4)] }, { plans: [{ ...done, id: 4 }] }])).to.deep.equal({ outcome: null, looks: 3 })
    expect(await wait([{ plans: [planOf(7, { kind: 'move' }), old] }])).to.deep.equal({ outcome: null, looks: 1 })
    expect(await newestPlan(clusterOf([{ plans: [done, old] }]).cluster)).to.equal(5)
  })

  it('waits on while partitions have other numbers of replicas, although a plan has ended', async () => {
    expect(await wait([{ plans: [done, old], replicas: 1 }, { plans: [planOf(6), done] }, { plans: [{ ...done, id: 6 }, done] }])).to.deep.equal({ outcome: { ...done, id: 6 }, looks: 3 })
  })

  it('waits until the metadata partitions have their members, too, with a plan and without', async () => {
    expect(await wait([{ plans: [done, old], membersPending: 2 }, { plans: [done, old], membersPending: 1 }, { plans: [done, old] }])).to.deep.equal({ outcome: done, looks: 3 })
    expect(await wait([{ plans: [old], membersPending: 1 }, { plans: [old] }])).to.deep.equal({ outcome: null, looks: 2 })
    expect(await wait([{ plans: [planOf(5, { phase: 'aborted' })], membersPending: 2 }])).to.deep.equal({ outcome: 'ATOLL_PLAN_NOT_DONE', looks: 1 })
  })

  it('ends with an error when the plan is cancelled, gives moves up, or nobody makes one', async () => {
    const failed = { outcome: 'ATOLL_PLAN_NOT_DONE', looks: 1 }
    expect(await wait([{ plans: [planOf(5, { phase: 'aborted' })] }])).to.deep.equal(failed)
    expect(await wait([{ plans: [planOf(5, { phase: 'ended', movesGivenUp: 1 })] }])).to.deep.equal(failed)
    expect(await wait([{ plans: [old], automatic: false, replicas: 3 }])).to.deep.equal(failed)
    expect(await wait([{ plans: [old], automatic: false }], true)).to.deep.equal(failed)
    expect(await wait([{ plans: [old], automatic: false }])).to.deep.equal({ outcome: null, looks: 1 })
  })
})
