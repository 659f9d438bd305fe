import { expect } from 'chai'
import { existsSync } from 'node:fs'
import { atEveryWrite } from './every-write.ts'
import type { Scenario } from './every-write.ts'
import * as nodes from './nodes.ts'
import * as resources from './resources.ts'
import * as subscription from './subscription.ts'

/** What of a practice a crash of the scheduler cannot touch, and the tests that it has instead. */
interface Elsewhere { because: string, tests: string[] }

/** The checklist for a stateful framework, row by row: what is played with a crash of the scheduler at each durable write, and a restart on what it had written. */
const practices: Array<[practice: string, scenarios: Scenario[], elsewhere?: Elsewhere]> = [
  ['the framework id is persisted before the first offer is acted on', subscription.frameworkId],
  ['failover timeout of a week, checkpoint on', subscription.frameworkInfo],
  ['a framework that was removed stops, and asks', subscription.removed],
  ['the intent is written ahead of ACCEPT', subscription.writeAhead],
  ['reserve and create with labels, verified, never assumed', resources.reservations],
  ['surplus is given back, and all by an uninstall', resources.surplus],
  ['explicit and implicit reconciliation, after each subscription and periodic', subscription.reconciliation],
  ['PARTITION_AWARE: unreachable is waited for, then stood in for', nodes.partitionAware],
  ['suppressed when idle, long declines, few revives', resources.offers],
  ['what is not placed is explained', resources.explanations],
  ['inverse offers are accepted only while redundancy stays', nodes.inverseOffers],
  ['the drain of an agent is planned', nodes.draining],
  ['one scheduler is active; whoever is told "failed over" ends', subscription.singleActive],
  ['loss of heartbeats is noticed; calls have a time-out', subscription.heartbeats],
  ['task ids are unique per launch', subscription.taskIds],
  ['health checks are of liveness, with a long grace', nodes.healthChecks],
  ['a role of its own', resources.ownRole],
  ['the principal is set and equal', resources.ownPrincipal],
  ['secrets by reference, TLS to the master', [], {
    because: 'what is read from files at each start and sent with each request is in no record',
    tests: ['mesos/credentials', 'mesos/tls', 'zookeeper/real']
  }],
  ['exclusive lock across copies of the scheduler', subscription.lock, {
    because: 'two processes on one store are refused by the lock of the store itself',
    tests: ['standby/standby']
  }],
  ['beyond the list', nodes.beyond]
]

describe('framework: the scheduler dies at every step', function () {
  this.timeout(120_000)

  for (const [practice, scenarios, elsewhere] of practices) {
    describe(practice, () => {
      for (const each of scenarios) {
        it(each.rule, async () => { expect(await atEveryWrite(each)).to.be.greaterThan(3) })
      }
      if (elsewhere !== undefined) {
        it(`no crash: ${elsewhere.because}; see ${elsewhere.tests.join(', ')}`, () => {
          for (const name of elsewhere.tests) expect(existsSync(new URL(`../../${name}.test.ts`, import.meta.url)), name).to.equal(true)
        })
      }
    })
  }
})
