import { expect } from 'chai'
import type { CallBody, Operation } from '../../../../scheduler/mesos/types.ts'
import { Harness, frameworkInit } from '../harness.ts'

/** A scheduler that dies more often than this in one scenario would never get through it: the scenario has ended before. */
const writesMax = 300

export interface Life {
  harness: Harness
  running (nodes: number): Promise<void>
  /** Exactly the wanted nodes run, nothing else is reserved, no plan is open. */
  settled (nodes: number): Promise<void>
}

export interface Scenario {
  rule: string
  agents: number
  play (life: Life): Promise<void>
}

export const scenario = (rule: string, agents: number, play: (life: Life) => Promise<void>): Scenario => ({ rule, agents, play })

/** Plays a scenario once for each durable write in it, with the scheduler killed at that write: before it or after it, in turn. Resolves with how many there are. */
export async function atEveryWrite ({ agents, play }: Scenario): Promise<number> {
  for (let crashAt = 0; ; crashAt++) {
    const harness = new Harness(1, agents)
    let writes = 0
    let reached = crashAt === 0
    harness.onWrite = (when) => {
      if (when === 'before') writes++
      if (writes !== crashAt || reached || when === (crashAt % 2 === 0 ? 'before' : 'after')) return
      reached = true
      harness.kill()
    }
    const running = (nodes: number): Promise<void> => harness.until(() => harness.areRunning(nodes), `crash at write ${crashAt}: ${nodes} running nodes`)
    const settled = (nodes: number): Promise<void> => harness.until(() =>
      harness.areRunning(nodes) && harness.status().nodes.length === nodes && harness.leaks().length === 0 && harness.status().plans.every(({ status }) => status === 'complete'),
    `crash at write ${crashAt}: ${nodes} nodes and nothing else`)
    try {
      await play({ harness, running, settled })
      expect(harness.master.violations).to.deep.equal([])
      checkOperations(operationsOf(harness.master.calls))
    } catch (error) {
      throw new Error(`crash at write ${crashAt}: ${error instanceof Error ? error.message : String(error)}`)
    }
    harness.stop()
    if (!reached) return crashAt - 1
    expect(crashAt).to.be.lessThan(writesMax)
  }
}

export const operationsOf = (calls: CallBody[]): Operation[] => calls.flatMap((call) => call.type === 'ACCEPT' ? call.accept.operations : [])

export const taskIdsOf = (operations: Operation[]): string[] =>
  operations.flatMap((operation) => operation.type === 'LAUNCH' ? operation.launch.task_infos.map(({ task_id: id }) => id.value) : [])

/** What must hold of every operation of every scenario: our role and principal, a label for each reservation, no task id twice. */
function checkOperations (operations: Operation[]): void {
  const { role, principal } = frameworkInit
  const ids = taskIdsOf(operations)
  expect(new Set(ids).size, 'a task id is used once').to.equal(ids.length)
  for (const operation of operations) {
    const resources = operation.type === 'RESERVE' ? operation.reserve.resources : operation.type === 'CREATE' ? operation.create.volumes : []
    for (const { reservations, disk } of resources) {
      const last = reservations!.at(-1)!
      expect([last.role, last.principal], operation.type).to.deep.equal([role, principal])
      expect(last.labels!.labels.map(({ key }) => key), operation.type).to.include.members(['resource_id', 'atoll_cluster', 'atoll_node'])
      if (disk?.persistence !== undefined) expect(disk.persistence.principal).to.equal(principal)
    }
  }
}
