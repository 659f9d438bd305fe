import { expect } from 'chai'
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { codeOf } from '../../../fsnode/protocol/errors.ts'
import { openLevelKv } from '../../../fsnode/protocol/level-kv.ts'
import { silentLog } from '../../../fsnode/protocol/pino-log.ts'
import { systemClock, systemRandom } from '../../../fsnode/protocol/system.ts'
import { isGroupAlive, startTimeOf } from '../../../scheduler/local/agent/process-table.ts'
import { startLocalMaster, type LocalMaster, type LocalMasterInit } from '../../../scheduler/local/index.ts'
import { reserved, volume } from './core-harness.ts'
import { ports, scalar } from './master-harness.ts'
import { TestFramework } from './test-framework.ts'

const components = { clock: systemClock, random: systemRandom, log: silentLog }
/** Nobody takes so long, however busy the machine is. */
const longGraceMs = 60_000
const shell = (value: string, more: object = {}): object => ({ shell: true, value, ...more })

describe('embedded master with real processes', function () {
  this.timeout(120_000)
  let workDir: string
  let master: LocalMaster | undefined
  let framework: TestFramework

  const start = async (init: Partial<LocalMasterInit> = {}): Promise<void> => {
    master = await startLocalMaster(components, { workDir, ...init })
    framework = new TestFramework(master.url)
    await framework.subscribe()
  }
  const output = (task: string, name = 'stdout'): string => readFileSync(join(workDir, 'tasks', task, name), 'utf8')
  const pidOf = async (task: string): Promise<number> => {
    const { container_status: container } = await framework.state(task, 'TASK_RUNNING') as any
    return container.executor_pid
  }

  beforeEach(async () => { workDir = await mkdtemp(join(tmpdir(), 'atoll-master-')) })
  afterEach(async () => {
    framework?.disconnect()
    await master?.shutdown()
    master = undefined
    await rm(workDir, { recursive: true, force: true })
  })

  describe('a task', () => {
    beforeEach(() => start())

    it('runs in its sandbox, with its environment, and leaves its output there', async () => {
      await framework.launch('t', shell('pwd; echo "$GREETING from $MESOS_TASK_ID"; echo oops >&2; exit 3', { environment: { variables: [{ name: 'GREETING', value: 'hello' }] } }))
      const status = await framework.state('t', 'TASK_FAILED')
      expect(status).to.deep.include({ message: 'Command exited with status 3', source: 'SOURCE_EXECUTOR' })
      expect(framework.statesOf('t')).to.deep.equal(['TASK_STARTING', 'TASK_RUNNING', 'TASK_FAILED'])
      expect(output('t')).to.equal(`${join(workDir, 'tasks', 't')}\nhello from t\n`)
      expect(output('t', 'stderr')).to.equal('oops\n')
    })

    it('without a shell gets its arguments as they are', async () => {
      await framework.launch('t', { shell: false, value: '/bin/echo', arguments: ['echo', '$HOME', '*', 'a  b'] })
      await framework.state('t', 'TASK_FINISHED')
      expect(output('t')).to.equal('$HOME * a  b\n')
    })

    const endings: Array<[string, object, string, string]> = [
      ['by its own SIGKILL', shell('kill -9 $$'), 'TASK_FAILED', 'Command terminated with signal Killed'],
      ['no such shell command', shell('no-such-command --flag'), 'TASK_FAILED', 'Command exited with status 127'],
      ['no such file', { shell: false, value: '/no/such/file', arguments: ['/no/such/file'] }, 'TASK_FAILED', 'Command exited with status 1']
    ]
    for (const [what, command, state, message] of endings) {
      it(`ends as it does under Mesos (${what})`, async () => {
        await framework.launch('t', command)
        expect(await framework.state('t', state)).to.deep.include({ message })
        expect(framework.statesOf('t').slice(0, 2)).to.deep.equal(['TASK_STARTING', 'TASK_RUNNING'])
      })
    }

    it('is killed with SIGTERM first: what it does about it counts', async () => {
      await framework.launch('t', shell('trap "echo bye; exit 0" TERM; echo ready; while :; do sleep 0.05; done'))
      await framework.until(() => existsSync(join(workDir, 'tasks/t/stdout')) && output('t').includes('ready'), 'ready')
      await framework.kill('t', longGraceMs)
      expect(await framework.state('t', 'TASK_KILLED')).to.deep.include({ message: 'Command exited with status 0' })
      expect(framework.statesOf('t')).to.deep.equal(['TASK_STARTING', 'TASK_RUNNING', 'TASK_KILLING', 'TASK_KILLED'])
      expect(output('t')).to.equal('ready\nbye\n')
    })

    it('is killed with SIGKILL when its grace is over', async () => {
      await framework.launch('t', shell('trap "" TERM; echo ready; while :; do sleep 0.05; done'))
      await framework.until(() => existsSync(join(workDir, 'tasks/t/stdout')) && output('t').includes('ready'), 'ready')
      await framework.kill('t', 200)
      expect(await framework.state('t', 'TASK_KILLED')).to.deep.include({ message: 'Command terminated with signal Killed' })
    })

    it('takes all that it started with it', async () => {
      await framework.launch('t', shell('sleep 1000 & echo $!; exit 0'))
      await framework.state('t', 'TASK_FINISHED')
      expect(await startTimeOf(Number(output('t')))).to.equal(undefined)
    })

    it('a child may use the grace that its parent does not', async () => {
      await framework.launch('t', shell('(trap "sleep 0.3; echo saved; exit 0" TERM; echo ready; while :; do sleep 0.05; done) & wait'))
      await framework.until(() => existsSync(join(workDir, 'tasks/t/stdout')) && output('t').includes('ready'), 'ready')
      await framework.kill('t', longGraceMs)
      await framework.state('t', 'TASK_KILLED')
      expect(output('t')).to.equal('ready\nsaved\n')
    })

    it('of another user, or with files that are not there, is not launched', async () => {
      await framework.launch('u', shell('true', { uris: [{ value: 'file:///no/such/file' }] }))
      expect(await framework.state('u', 'TASK_FAILED')).to.deep.include({ source: 'SOURCE_AGENT', reason: 'REASON_CONTAINER_LAUNCH_FAILED' })
      await framework.launch('v', shell('true', { user: 'no-such-user' }))
      const status = await framework.state('v', 'TASK_FAILED')
      expect(status.reason).to.equal('REASON_CONTAINER_LAUNCH_FAILED')
      expect(status.message).to.include('no-such-user')
    })

    it('finds the files that it asked for, archives unpacked', async () => {
      await mkdir(join(workDir, 'files'))
      await writeFile(join(workDir, 'files', 'inside'), 'content')
      execFileSync('tar', ['-czf', join(workDir, 'a.tar.gz'), '-C', join(workDir, 'files'), 'inside'])
      await writeFile(join(workDir, 'tool'), '#!/bin/sh\ncat inside\n')
      await framework.launch('t', shell('./tool', { uris: [{ value: join(workDir, 'a.tar.gz') }, { value: `file://${join(workDir, 'tool')}`, executable: true }] }))
      await framework.state('t', 'TASK_FINISHED')
      expect(output('t')).to.equal('content')
    })

    it('is asked by its check: each new answer is told, and nothing follows from it', async () => {
      const check = { type: 'COMMAND', command: { command: { value: 'test -f done || exit 7' } }, delay_seconds: 0, interval_seconds: 0.02 }
      await framework.launch('t', shell('while ! test -f end; do sleep 0.02; done'), { check })
      const answers = (): unknown[] => framework.updates.filter(({ reason }) => reason === 'REASON_TASK_CHECK_STATUS_UPDATED').map(({ check_status: status }) => status)
      await framework.until(() => answers().length === 1, 'the first answer')
      await writeFile(join(workDir, 'tasks/t/done'), '')
      await framework.until(() => answers().length === 2, 'the second answer')
      expect(answers()).to.deep.equal([{ type: 'COMMAND', command: { exit_code: 7 } }, { type: 'COMMAND', command: { exit_code: 0 } }])
      await writeFile(join(workDir, 'tasks/t/end'), '')
      expect((await framework.state('t', 'TASK_FINISHED')).check_status).to.deep.equal({ type: 'COMMAND', command: {} })
    })

    for (const [what, how] of [
      ['a port that there is not', { type: 'TCP', tcp: { port: 70_000 } }],
      ['a command that no program can be given', { type: 'COMMAND', command: { command: { value: 'true \0' } } }]
    ] as const) {
      it(`whose check cannot be asked, by ${what}, runs on, and so does the master`, async () => {
        // Outside of tests one of these ends the process.
        const unhandled: unknown[] = []
        const note = (reason: unknown): void => { unhandled.push(reason) }
        process.on('unhandledRejection', note)
        await framework.launch('t', shell('while ! test -f end; do sleep 0.02; done'), { check: { ...how, delay_seconds: 0, interval_seconds: 0.02 } })
        await framework.state('t', 'TASK_RUNNING')
        await framework.launch('after', shell('sleep 0.2'))
        await framework.state('after', 'TASK_FINISHED')
        process.off('unhandledRejection', note)
        expect(unhandled).to.deep.equal([])
        expect(framework.updates.filter(({ task_id: id, reason }) => id.value === 't' && reason === 'REASON_TASK_CHECK_STATUS_UPDATED').map(({ check_status: status }) => status)).to.deep.equal([])
      })
    }

    it('that fails its health check is killed, and its last update says that it was not healthy', async () => {
      await framework.launch('t', shell('sleep 1000'), {
        health_check: { type: 'COMMAND', command: { value: 'false' }, delay_seconds: 0, interval_seconds: 0.05, timeout_seconds: 2, consecutive_failures: 2, grace_period_seconds: 0 }
      })
      expect(await framework.state('t', 'TASK_KILLED')).to.deep.include({ healthy: false, message: 'Command terminated with signal Terminated' })
      const healthy = framework.updates.filter(({ reason }) => reason === 'REASON_TASK_HEALTH_CHECK_STATUS_UPDATED').map((status) => status.healthy)
      expect(healthy).to.deep.equal([false, false])
    })
  })

  it('a volume outlives tasks and stands in the sandbox at its container path; DESTROY empties it', async () => {
    await start()
    const resources = [reserved(scalar('cpus', 0.1)), volume(10, 'v1')]
    await framework.accept((agentId) => [
      { type: 'RESERVE', reserve: { resources: [reserved(scalar('cpus', 0.1)), reserved(scalar('disk', 10))] } },
      { type: 'CREATE', create: { volumes: [volume(10, 'v1')] } },
      { type: 'LAUNCH', launch: { task_infos: [{ name: 'one', task_id: { value: 'one' }, agent_id: agentId, resources, command: shell('echo kept > data/file') }] } }
    ])
    await framework.state('one', 'TASK_FINISHED')
    expect(await readFile(join(workDir, 'volumes/roles/atoll/v1/file'), 'utf8')).to.equal('kept\n')
    await framework.until(() => framework.offers.length > 0, 'the freed volume')
    await framework.launch('two', shell('cat data/file'), {}, resources)
    await framework.state('two', 'TASK_FINISHED')
    expect(output('two')).to.equal('kept\n')
    await framework.until(() => framework.offers.length > 0, 'the freed volume')
    await framework.accept(() => [{ type: 'DESTROY', id: { value: 'op' }, destroy: { volumes: [volume(10, 'v1')] } }])
    await framework.until(() => framework.events.some(({ type }) => type === 'UPDATE_OPERATION_STATUS'), 'the outcome')
    expect(existsSync(join(workDir, 'volumes/roles/atoll/v1'))).to.equal(false)
  })

  it('what is reserved stays reserved when the machine is described otherwise', async () => {
    await start({ resources: { cpus: 4, ports: [{ begin: 31000, end: 31009 }] } })
    const kept = [reserved(scalar('cpus', 1)), reserved(ports(31000, 31001))]
    await framework.accept(() => [{ type: 'RESERVE', id: { value: 'op' }, reserve: { resources: kept } }])
    await framework.until(() => framework.events.some(({ type }) => type === 'UPDATE_OPERATION_STATUS'), 'the outcome')
    framework.disconnect()
    await master!.close()
    const { id } = framework
    master = await startLocalMaster(components, { workDir, resources: { cpus: 0.5, ports: [{ begin: 32000, end: 32001 }] } })
    framework = new TestFramework(master.url, id)
    await framework.subscribe()
    await framework.until(() => framework.offers.length > 0, 'an offer')
    const offered = framework.offers.flatMap(({ resources = [] }) => resources).map(({ name, scalar: amount, ranges, reservations }) => [name, amount?.value ?? ranges?.range, reservations !== undefined])
    expect(offered.filter(([name]) => name === 'cpus' || name === 'ports')).to.have.deep.members([
      ['cpus', 1, true], ['ports', [{ begin: 31000, end: 31001 }], true], ['ports', [{ begin: 32000, end: 32001 }], false]
    ])
  })

  it('shutdown ends every process; the framework learns of it when it comes back', async () => {
    await start()
    await framework.launch('t', shell('trap "" TERM; sleep 1000 & wait; wait'), { kill_policy: { grace_period: { nanoseconds: 200e6 } } })
    const pid = await pidOf('t')
    const startTime = (await startTimeOf(pid))!
    framework.disconnect()
    await master!.shutdown()
    expect(await isGroupAlive(pid, startTime)).to.equal(false)
    const { id } = framework
    master = await startLocalMaster(components, { workDir })
    framework = new TestFramework(master.url, id)
    await framework.subscribe()
    await framework.state('t', 'TASK_KILLED')
  })

  it('a process that was not released never becomes the command', async () => {
    await start()
    const { ProcessAgent } = await import('../../../scheduler/local/agent/agent.ts')
    const { Sandboxes } = await import('../../../scheduler/local/agent/sandbox.ts')
    const sandboxes = new Sandboxes({ log: silentLog }, { workDir })
    let pid = 0
    const spawned = new Promise<void>((resolve, reject) => {
      const agent = new ProcessAgent({ ...components, sandboxes }, { endpoint: '', report: (report) => {
        if (report.type !== 'task-spawned') return
        pid = report.process.pid
        agent.detach().then(resolve, reject)
      } })
      agent.launch({ key: 'f/t', containerId: 'c', directory: 't', frameworkId: 'f', volumes: [], info: { name: 't', task_id: { value: 't' }, agent_id: { value: 'a' }, resources: [], command: { value: 'touch ran' } } })
    })
    await spawned
    while (await startTimeOf(pid) !== undefined) await new Promise((resolve) => { setImmediate(resolve) })
    expect(await readdir(join(workDir, 'tasks/t'))).to.have.members(['stdout', 'stderr'])
  })

  describe('when the master is killed', () => {
    let child: ChildProcess | undefined
    const startProcess = async (): Promise<{ url: string, agentId: string, masterId: string }> => {
      child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', fileURLToPath(new URL('master-process.ts', import.meta.url)), workDir], { stdio: ['ignore', 'pipe', 'inherit'] })
      const [line] = await once(child.stdout!, 'data')
      return JSON.parse(String(line))
    }
    const killProcess = async (): Promise<void> => {
      child!.kill('SIGKILL')
      await once(child!, 'exit')
      child = undefined
    }
    afterEach(async () => { if (child !== undefined) await killProcess() })

    it('tasks run on, and the next master has the same tasks, volumes, reservations, agent and frameworks', async () => {
      const first = await startProcess()
      framework = new TestFramework(first.url)
      await framework.subscribe()
      const resources = [reserved(scalar('cpus', 0.1)), volume(10, 'v1')]
      await framework.accept((agentId) => [
        { type: 'RESERVE', reserve: { resources: [reserved(scalar('cpus', 0.1)), reserved(scalar('disk', 10))] } },
        { type: 'CREATE', create: { volumes: [volume(10, 'v1')] } },
        { type: 'LAUNCH', launch: { task_infos: ['kept', 'ends'].map((name, index) => ({
          name, task_id: { value: name }, agent_id: agentId, resources: index === 0 ? resources : [scalar('cpus', 0.1)],
          command: shell(name === 'kept' ? 'date +%N > data/born; while :; do sleep 0.05; done' : 'while [ ! -e end ]; do sleep 0.05; done')
        })) } }
      ])
      const [pid] = [await pidOf('kept'), await pidOf('ends')]
      await framework.until(() => existsSync(join(workDir, 'volumes/roles/atoll/v1/born')), 'the volume')
      const startTime = (await startTimeOf(pid))!
      await killProcess()
      await writeFile(join(workDir, 'tasks/ends/end'), '')
      expect(await startTimeOf(pid)).to.equal(startTime)

      const { id } = framework
      master = await startLocalMaster(components, { workDir })
      expect([master.agentId, master.masterId]).to.deep.equal([first.agentId, first.masterId])
      framework = new TestFramework(master.url, id)
      await framework.subscribe()
      expect((await framework.state('ends', 'TASK_FAILED')).reason).to.equal('REASON_EXECUTOR_TERMINATED')
      await framework.call({ type: 'RECONCILE', reconcile: { tasks: [] } })
      await framework.until(() => framework.updates.some(({ task_id: task, state, reason }) => task.value === 'kept' && state === 'TASK_RUNNING' && reason === 'REASON_RECONCILIATION'), 'the answer')
      expect(await startTimeOf(pid), 'the same process').to.equal(startTime)
      const offered = framework.offers.flatMap(({ resources: list = [] }) => list)
      expect(offered.some(({ disk }) => disk?.persistence !== undefined), 'the volume is in use').to.equal(false)

      await framework.kill('kept', longGraceMs)
      await framework.state('kept', 'TASK_KILLED')
      expect(await startTimeOf(pid)).to.equal(undefined)
      await framework.until(() => framework.offers.flatMap(({ resources: list = [] }) => list).some(({ disk }) => disk?.persistence?.id === 'v1'), 'the volume on offer')
      await framework.launch('again', shell('cat data/born'), {}, resources)
      await framework.state('again', 'TASK_FINISHED')
    })

    it('nobody else may work in its directory while it lives', async () => {
      await startProcess()
      expect(await failure({ workDir })).to.equal('ATOLL_ALREADY_RUNNING')
    })
  })

  describe('does not start', () => {
    it('on a port that is taken, and leaves nothing locked', async () => {
      const server = createServer().listen(0, '127.0.0.1')
      await once(server, 'listening')
      const { port } = server.address() as { port: number }
      expect(await failure({ workDir, port })).to.equal('ATOLL_PORT_IN_USE')
      server.close()
      await start()
    })

    it('where it cannot write', async () => {
      await writeFile(join(workDir, 'file'), '')
      expect(await failure({ workDir: join(workDir, 'file') })).to.equal('ATOLL_DATA_DIR_UNUSABLE')
      expect(await failure({ workDir: join(workDir, 'file', 'below') })).to.equal('ATOLL_DATA_DIR_UNUSABLE')
      await writeFile(join(workDir, 'tasks'), '')
      expect(await failure({ workDir })).to.equal('ATOLL_DATA_DIR_UNUSABLE')
    })

    it('on an address that others reach', async () => {
      expect(await failure({ workDir, host: '0.0.0.0' })).to.equal('ATOLL_ADDRESS_UNUSABLE')
    })

    const damages: Array<[string, string, string]> = [
      ['a record that is not JSON', 'task/f/t', '{"key":'],
      ['a record without its fields', 'task/f/t', '{"key":"f/t"}'],
      ['a record of unknown kind', 'what/is/this', '{}'],
      ['meta of another version', 'meta', '{"format":99}'],
      ['meta that is not JSON', 'meta', 'x']
    ]
    for (const [what, key, value] of damages) {
      it(`with a damaged store (${what})`, async () => {
        await start()
        framework.disconnect()
        await master!.close()
        master = undefined
        const kv = await openLevelKv({ directory: join(workDir, 'state') })
        await kv.batch([{ type: 'put', key: Buffer.from(key), value: Buffer.from(value) }], { sync: true })
        await kv.close()
        expect(await failure({ workDir })).to.equal('ATOLL_STORE_UNUSABLE')
      })
    }

    it('with a damaged database', async () => {
      await start()
      framework.disconnect()
      await master!.close()
      master = undefined
      await writeFile(join(workDir, 'state', 'CURRENT'), 'rubbish')
      expect(await failure({ workDir })).to.equal('ATOLL_STORE_UNUSABLE')
    })
  })

  async function failure (init: LocalMasterInit): Promise<string> {
    try {
      master = await startLocalMaster(components, init)
      return 'started'
    } catch (error) {
      return codeOf(error)
    }
  }
})
