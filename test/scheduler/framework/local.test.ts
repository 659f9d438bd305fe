import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import { openLevelKv } from '../../../fsnode/protocol/level-kv.ts'
import type { Kv } from '../../../fsnode/protocol/ports.ts'
import { systemClock, systemRandom } from '../../../fsnode/protocol/system.ts'
import { httpMasterClient, startFramework } from '../../../scheduler/framework/index.ts'
import type { Framework, FrameworkStatus } from '../../../scheduler/framework/index.ts'
import { startLocalMaster } from '../../../scheduler/local/index.ts'
import type { DiskType } from '../../../scheduler/framework/agent-offer.ts'
import type { LocalMaster, LocalMasterInit, MachineDisk } from '../../../scheduler/local/index.ts'
import { quietLog } from './harness.ts'

interface Answer { nodeId: string, pid: number, starts: number, managers: Array<{ id: string }> }

const pollMs = 20
/** Nobody else takes a port there, also not one that is free for a moment. Only Linux has more than one. */
const ownHost = process.platform === 'linux' ? `127.${1 + (process.pid >> 16)}.${process.pid >> 8 & 255}.${process.pid & 255}` : '127.0.0.1'
const components = { clock: systemClock, random: systemRandom, log: quietLog }

describe('framework on the embedded master', function () {
  this.timeout(120_000)
  let directory: string
  let master: LocalMaster
  let kv: Kv
  let framework: Framework

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'atoll-framework-'))
    await startMaster()
    kv = await openLevelKv({ directory: join(directory, 'framework') })
    await start()
  })

  afterEach(async () => {
    await framework.close()
    await master.shutdown()
    await kv.close()
    await rm(directory, { recursive: true, force: true })
  })

  async function startMaster (port = 0, disks: MachineDisk[] = [], more: Partial<LocalMasterInit> = {}): Promise<void> {
    // Apart from those of clusters (scheduler/embedded.ts) and of other tests; from the same tests' elsewhere by the process id.
    const begin = 6_000 + (process.pid % 200) * 20
    master = await startLocalMaster(components, {
      workDir: join(directory, 'master'), host: ownHost, port, resources: { cpus: 4, memMb: 4096, diskMb: 4096, ports: [{ begin, end: begin + 19 }], disks }, ...more
    })
  }

  async function start (nodes = 3, diskType: DiskType = 'root', url = master.url): Promise<void> {
    framework = await startFramework({ ...components, kv, masterClientFactory: httpMasterClient(components) }, {
      masters: [url],
      role: 'atoll',
      principal: 'atoll',
      name: 'atoll',
      nodes,
      diskType,
      nodesPerAgentMax: 4,
      resources: { cpus: 0.1, memMb: 64, diskMb: 64 },
      nodeCommand: { arguments: [process.execPath, '--disable-warning=ExperimentalWarning', fileURLToPath(new URL('fake-node.ts', import.meta.url))] }
    })
  }

  async function until (condition: (status: FrameworkStatus) => boolean): Promise<FrameworkStatus> {
    return new Promise((resolve) => {
      const look = (): void => {
        const status = framework.status()
        if (!condition(status)) return
        stop()
        resolve(status)
      }
      const stop = framework.onChange(look)
      look()
    })
  }

  const running = (count: number) => ({ nodes }: FrameworkStatus): boolean => nodes.filter(({ state }) => state === 'running').length === count

  /** A task runs before its program listens: ask until it answers. */
  async function ask (node: { host: string | null, rpcPort: number | null }): Promise<Answer> {
    for (;;) {
      const socket = connect(node.rpcPort!, node.host!)
      let text = ''
      socket.on('data', (chunk) => { text += chunk.toString() })
      socket.on('error', () => {})
      await new Promise((resolve) => { socket.on('close', resolve) })
      if (text !== '') return JSON.parse(text)
      await delay(pollMs)
    }
  }

  it('launches three nodes, relaunches a killed one on its volume, and leaves the others alone', async () => {
    const status = await until(running(3))
    const answers = await Promise.all(status.nodes.map(ask))
    expect(answers.map(({ nodeId, starts }) => [nodeId, starts])).to.deep.equal([['node-1', 1], ['node-2', 1], ['node-3', 1]])
    for (const { managers } of answers) expect(managers.map(({ id }) => id)).to.deep.equal(['node-1', 'node-2', 'node-3'])

    process.kill(answers[1]!.pid, 'SIGKILL')
    const after = await until((now) => running(3)(now) && now.nodes[1]!.launches === 2)
    expect([after.nodes[1]!.rpcPort, after.nodes[1]!.raftPort]).to.deep.equal([status.nodes[1]!.rpcPort, status.nodes[1]!.raftPort])
    const again = await Promise.all(after.nodes.map(ask))
    expect(again.map(({ starts }) => starts)).to.deep.equal([1, 2, 1])
    expect([again[0]!.pid, again[2]!.pid]).to.deep.equal([answers[0]!.pid, answers[2]!.pid])
  })

  it('a node on a MOUNT disk has it for itself: its volume is the root of the disk', async () => {
    await framework.shutdown()
    await master.shutdown()
    const roots = ['one', 'two'].map((name) => join(directory, name))
    await startMaster(0, roots.map((root) => ({ type: 'MOUNT', root, diskMb: 100 })))
    await kv.close()
    kv = await openLevelKv({ directory: join(directory, 'framework-of-disks') })
    await start(2, 'mount')
    const status = await until(running(2))
    for (const node of status.nodes) expect((await ask(node)).starts).to.equal(1)
    for (const root of roots) expect(await readdir(root)).to.have.length(1)
  })

  it('another framework process has the same id and adopts the running tasks', async () => {
    const before = await until(running(3))
    const pids = (await Promise.all(before.nodes.map(ask))).map(({ pid }) => pid)
    await framework.close()
    await start()
    const after = await until((status) => status.connected && running(3)(status))
    expect(after.frameworkId).to.equal(before.frameworkId)
    expect(after.nodes.map(({ task, launches }) => [task!.id, launches])).to.deep.equal(before.nodes.map(({ task }) => [task!.id, 1]))
    expect((await Promise.all(after.nodes.map(ask))).map(({ pid }) => pid)).to.deep.equal(pids)
  })

  it('survives a restart of the master at the same address, without a relaunch', async () => {
    const before = await until(running(3))
    const pids = (await Promise.all(before.nodes.map(ask))).map(({ pid }) => pid)
    await master.close()
    await until(({ connected }) => !connected)
    await startMaster(Number(new URL(master.url).port))
    const after = await until((status) => status.connected && running(3)(status))
    expect((await Promise.all(after.nodes.map(ask))).map(({ pid }) => pid)).to.deep.equal(pids)
  })

  it('follows a redirect to the leader; a new leader, and agents that return late, cost no relaunch', async () => {
    const pids = (await Promise.all((await until(running(3))).nodes.map(ask))).map(({ pid }) => pid)
    const standby = await startLocalMaster(components, { workDir: join(directory, 'standby') })
    try {
      standby.setPhase({ leader: new URL(master.url).host })
      await framework.close()
      await start(3, 'root', standby.url)
      expect((await until((status) => status.connected && running(3)(status))).master).to.contain(master.url)
      // From here on the redirect leads to a dead master.
      await master.close()
      await until(({ connected }) => !connected)
      await startMaster(0, [], { agentsReturn: 'when told' })
      standby.setPhase({ leader: new URL(master.url).host })
      await until(({ connected }) => connected)
      master.setPresence(master.agentId, 'registered')
      const after = await until(running(3))
      expect(after.nodes.map(({ launches }) => launches)).to.deep.equal([1, 1, 1])
      expect((await Promise.all(after.nodes.map(ask))).map(({ pid }) => pid)).to.deep.equal(pids)
    } finally {
      await standby.close()
    }
  })

  it('an agent that comes back under another id has the volumes: each node is launched on its own again', async () => {
    await Promise.all((await until(running(3))).nodes.map(ask))
    const agentId = master.replaceAgent(master.agentId)
    const after = await until((status) => running(3)(status) && status.nodes.every(({ launches }) => launches === 2))
    expect(after.nodes.map((node) => node.agentId)).to.deep.equal(Array(3).fill(agentId))
    expect((await Promise.all(after.nodes.map(ask))).map(({ starts }) => starts)).to.deep.equal([2, 2, 2])
    // And so after a restart of the master.
    await master.close()
    await until(({ connected }) => !connected)
    await startMaster(Number(new URL(master.url).port))
    expect(master.agentId).to.equal(agentId)
    await until((status) => status.connected && running(3)(status))
  })

  it('shutdown ends the tasks and keeps the volumes for the next start; release frees the place', async () => {
    const before = await until(running(3))
    await Promise.all(before.nodes.map(ask))
    await framework.shutdown()
    await start(4)
    const after = await until(running(4))
    expect((await Promise.all(after.nodes.map(ask))).map(({ starts }) => starts)).to.deep.equal([2, 2, 2, 1])
    await framework.setNodes(3)
    expect(framework.status().nodes[3]).to.include({ id: 'node-4', state: 'draining' })
    await framework.releaseNode('node-4')
    const last = await until(({ nodes, garbage }) => nodes.length === 3 && garbage.length === 0)
    expect(running(3)(last)).to.equal(true)
  })
})
