import { expect } from 'chai'
import { killGraceMsDefault } from '../../../scheduler/local/constants.ts'
import type { Phase } from '../../../scheduler/local/wire/phase.ts'
import { killTestMaster, ports, scalar, startTestMaster } from './master-harness.ts'
import { Replay } from './replay.ts'

/** What a note says that happens to agents, by a text in it. */
const script = (steps: Record<string, (replay: Replay) => void | Promise<void>>) => async (note: string, replay: Replay): Promise<void> => {
  for (const [text, action] of Object.entries(steps)) if (note.includes(text)) await action(replay)
}

const backAfter = (replay: Replay, seconds: number, ...agentIds: string[]): void => {
  replay.later(seconds, () => { for (const id of agentIds) replay.master.shell.setPresence(id, 'registered') })
}

describe('embedded master: answers as the recorded Mesos master did', function () {
  this.timeout(60_000)

  it('01: offers, DECLINE with filters, REVIVE, SUPPRESS, HEARTBEAT, TEARDOWN', () => new Replay('01-subscribe-offers-decline-revive-suppress').run())

  it('02: RESERVE and CREATE with ids, repeated updates, reconciliation, LAUNCH, KILL, DESTROY, UNRESERVE', () => new Replay('02-stateful-life-with-operation-ids').run())

  it('03: RESERVE, CREATE and LAUNCH in one ACCEPT; another framework adopts the volume', () => new Replay('03-reserve-create-launch-in-one-accept').run())

  it('04: operations and launches that fail', () => new Replay('04-operations-and-launches-that-fail').run())

  it('05: HTTP errors and refused subscribes', () => new Replay('05-http-errors-and-refused-subscribes', {
    racks: [1],
    // There it kills the master.
    until: 'type UNKNOWN',
    otherStatus: { 'application/x-protobuf with a JSON body': 415 },
    // Protobuf is not spoken, and another parser words what is wrong with JSON.
    otherText: ['Content-Type text', 'Content-Type application', 'Accept ', 'bad JSON', 'empty body', 'followed by rubbish', 'a field of the wrong type', 'not base64', 'offer_constraints']
  }).run())

  it('06: the newest subscription of a framework wins', () => new Replay('06-scheduler-failover').run())

  it('07: how tasks end', () => new Replay('07-task-outcomes-and-health', {
    // Nothing is enforced here.
    otherEnds: ['disk-limit'],
    // What the task before has freed was offered at once, and is not a part of what is declined here.
    otherOffers: ['TASK_STARTING of the next task is left unacknowledged']
  }).run())

  it('15: a framework that stays away too long is removed', () => new Replay('15-framework-removed-after-failover-timeout').run())

  it('18: static reservations are refined, and fall back when they are unreserved', () => new Replay('18-static-and-refined-reservations', {
    resourcesOf: (rack) => [
      ...[scalar('cpus', 2), scalar('mem', 1024), scalar('disk', 4000)].map((resource) => ({ ...resource, reservations: [{ type: 'STATIC' as const, role: 'atoll' }] })),
      scalar('cpus', 2), scalar('mem', 2048), scalar('disk', 10000), ports(31000 + rack * 100, 31099 + rack * 100)
    ]
  }).run())

  it('17: disks of type ROOT, PATH and MOUNT, and volumes that grow and shrink', () => new Replay('17-mount-and-path-disks', {
    resourcesOf: (rack) => [
      scalar('cpus', 4), scalar('mem', 4096), scalar('disk', 5000), ports(31100, 31199),
      { ...scalar('disk', 2000), disk: { source: { type: 'PATH', path: { root: `/mnt/disks${rack}/path1` } } } },
      ...[32, 48].map((mb, index) => ({ ...scalar('disk', mb), disk: { source: { type: 'MOUNT' as const, mount: { root: `/mnt/disks${rack}/mount${index + 1}` } } } }))
    ],
    attributesOf: (rack) => [
      { name: 'ssd', type: 'TEXT', text: { value: 'true' } }, { name: 'weight', type: 'SCALAR', scalar: { value: rack + 0.5 } },
      { name: 'slots', type: 'RANGES', ranges: { range: [{ begin: 1, end: 4 }] } }
    ],
    domainOf: (rack) => ({ fault_domain: { region: { name: 'eu' }, zone: { name: `z${rack}` } } })
  }).run())

  it('20: the grace of a KILL, and groups of tasks, which live and die together', async () => {
    const replay = new Replay('20-kill-grace-and-task-group')
    await replay.run()
    // A real agent without --http_command_executor ignores the grace of the KILL; here it is honoured for every task.
    expect(replay.master.agent.graces).to.deep.equal({ 'stubborn-r1': [2000], 'stubborn-r3': [2000], 'group-1.a': [2000], 'group-1.b': [killGraceMsDefault] })
  })

  it('08: an agent becomes unreachable and returns with its tasks', () => new Replay('08-agent-unreachable-and-back', {
    pingTimeoutMs: 3000,
    repeatsMayMiss: true,
    onNote: script({
      'is stopped (SIGSTOP) while': ({ master, acted }) => {
        // It was launched, but what the agent knew of it did not arrive any more.
        master.shell.setPresence('agent-1', 'hanging')
        master.agent.spawned('node-1')
        acted.add('node-1 spawned')
      },
      'goes on (SIGCONT)': ({ master, acted }) => {
        master.agent.exited('plain-1', { status: 4 })
        acted.add('plain-1 ended')
        master.shell.setPresence('agent-1', 'registered')
      },
      'SIGSTOP again': ({ master }) => { master.shell.setPresence('agent-1', 'hanging') },
      SIGCONT: ({ master }) => { master.shell.setPresence('agent-1', 'registered') }
    })
  }).run())

  it('09: an agent restarts, unregisters, comes back after its machine was restarted, and with another identity', () => {
    const away = (replay: Replay, awayMs?: number): void => {
      replay.master.shell.setPresence('agent-1', 'away')
      if (awayMs !== undefined) replay.master.clock.setTimer(() => { replay.master.shell.setPresence('agent-1', 'registered') }, awayMs)
    }
    /** Nothing of the machine survives; the agent tells of it when it is back. */
    const reboot = (replay: Replay, taskId: string, awayMs: number): void => {
      away(replay, awayMs)
      replay.master.agent.exited(taskId, 'unknown')
      replay.acted.add(`${taskId} ended`)
    }
    return new Replay('09-agent-restart-and-agent-with-new-id', {
      pingTimeoutMs: 3000,
      repeatsMayMiss: true,
      onNote: script({
        'is killed (SIGKILL) and started again after 1 s': (replay) => { away(replay, 1000) },
        'killed and stays away for 7 s': (replay) => { away(replay) },
        'then the agent process starts again': ({ master }) => { master.clock.setTimer(() => { master.shell.setPresence('agent-1', 'registered') }, 1000) },
        'stopped by SIGUSR1': ({ master }) => { master.shell.setPresence('agent-1', 'removed') },
        'starts again with the same work directory': ({ master }) => { master.shell.setPresence('agent-1', 'registered') },
        'host reboot, imitated': (replay) => { reboot(replay, 'node-1.b', 1000) },
        'host reboot that lasts 7 s': (replay) => { reboot(replay, 'node-1.c', 7000) },
        'loses its identity': (replay) => {
          away(replay)
          replay.master.clock.setTimer(() => { replay.agentIds[1] = replay.master.shell.replaceAgent('agent-1')! }, 1000)
        }
      })
    }).run()
  })

  it('10: an agent is marked gone', () => new Replay('10-agent-marked-gone').run())

  it('11: maintenance, inverse offers', () => new Replay('11-maintenance-and-inverse-offers', {
    machineOf: (rack) => ({ hostname: `127.0.0.${rack}`, ip: `127.0.0.${rack}` }),
    onNote: script({ 'it is started again': ({ master }) => { master.shell.setPresence('agent-1', 'registered') } })
  }).run())

  it('12: an agent is drained, deactivated, drained for good', () => new Replay('12-drain-and-reactivate-agent').run())

  it('13: the master is killed and started again: 404, 503, then agents return one after another', () => {
    /** Seconds from now until each phase begins. */
    const startAgain = async (replay: Replay, recovering: number, leading: number): Promise<void> => {
      await replay.succeed('starting')
      replay.later(recovering, () => { replay.master.http.phase = 'recovering' })
      replay.later(leading, () => { replay.master.http.phase = 'leading' })
    }
    return new Replay('13-master-restart-with-replicated-log', {
      onNote: script({
        'then the master is killed (SIGKILL)': ({ master }) => killTestMaster(master),
        'the master is started again; the framework tries': (replay) => startAgain(replay, 0.39, 0.52),
        'no agent is back yet': (replay) => { backAfter(replay, 1.5, 'agent-1', 'agent-3') },
        'agent r2 goes on': (replay) => { backAfter(replay, 0.5, 'agent-2') },
        'killed and started again within 0.1 s': async (replay) => {
          await killTestMaster(replay.master)
          await startAgain(replay, 0.2, 0.25)
          backAfter(replay, 3, 'agent-1', 'agent-2', 'agent-3')
        }
      })
    }).run()
  })

  it('16: of three masters one leads, the others redirect to it, for a while also when it is dead; then another leads', () => {
    const standBy = (replay: Replay, phase: Phase): void => { for (const { http } of replay.masters.values()) http.phase = phase }
    const leader = '127.0.0.1:5050'
    return new Replay('16-three-masters-with-zookeeper', {
      onNote: script({
        'three masters are started': async (replay) => {
          for (const port of [5060, 5070]) replay.masters.set(port, await startTestMaster([], 1, undefined, replay.master.clock))
        },
        'no quorum': ({ master }) => { master.http.phase = 'recovering' },
        'all three run': (replay) => {
          replay.master.http.phase = 'leading'
          standBy(replay, { leader })
        },
        'the leader (port 5050) is killed': ({ master }) => killTestMaster(master),
        'until its ZooKeeper session ends (4 s)': (replay) => {
          const dead = replay.master
          replay.later(3.5, async () => {
            await replay.masters.get(5060)!.shell.close()
            await replay.succeed('leading')
            replay.masters.set(5060, replay.master).set(5050, dead)
            backAfter(replay, 0.2, 'agent-2')
            backAfter(replay, 0.4, 'agent-1')
            backAfter(replay, 0.5, 'agent-3')
          })
        },
        'the killed master is started again: it stands by': async (replay) => {
          replay.masters.set(5050, await startTestMaster([], 1, undefined, replay.master.clock))
          for (const port of [5050, 5070]) replay.masters.get(port)!.http.phase = { leader: '127.0.0.1:5060' }
        },
        'the session of the leader expires; it exits': (replay) => {
          // Those that stand by do not know of a leader any more.
          replay.later(6.4, async () => {
            await killTestMaster(replay.master)
            for (const port of [5050, 5070]) replay.masters.get(port)!.http.phase = 'no leader'
          })
        }
      })
    }).run()
  })

  it('14: basic authentication', () => new Replay('14-basic-authentication', {
    credentials: [{ principal: 'atoll', secret: 'secret' }, { principal: 'operator', secret: 'operator-secret' }]
  }).run())

  it('19: what operators ask', () => new Replay('19-operator-api', {
    // What was there before the v1 API.
    otherStatus: Object.fromEntries(['slaves', 'frameworks', 'tasks', 'roles', 'master/state-summary', 'state'].map((path) => [`GET /${path} `, 404])),
    // Mesos has some 200 metrics more, and is not yet done with what operators told it to do.
    otherBody: ['GET_METRICS', 'RESERVE_RESOURCES, CREATE_VOLUMES'],
    otherText: ['bad JSON', 'RESERVE_RESOURCES, CREATE_VOLUMES'],
    onNote: script({ 'an agent is stopped by SIGUSR1': ({ master }) => { master.shell.setPresence('agent-3', 'removed') } })
  }).run())
})
