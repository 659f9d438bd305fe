import { expect } from 'chai'
import type { ChildProcess } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock, systemRandom } from '../../fsnode/protocol/system.ts'
import type { FrameworkStatus, NodeStatus } from '../../scheduler/framework/index.ts'
import { startLocalMaster } from '../../scheduler/local/index.ts'
import type { LocalMaster } from '../../scheduler/local/index.ts'
import { Place, canMount, kill, processesNaming, start, until } from './harness.ts'
import type { Running } from './harness.ts'
import { quietLog } from '../scheduler/framework/harness.ts'

const pingTimeoutMs = 3_000
const replaceAfterSeconds = 8
const credentials = [{ principal: 'atoll', secret: 'secret' }, { principal: 'operator', secret: 'secret' }]

describe('framework on five agents, while a copy with checksums runs through the mount', function () {
  this.timeout(240_000)
  let place: Place
  let master: LocalMaster
  let scheduler: ChildProcess
  let data: string

  before(async function () {
    if (!canMount()) this.skip()
    place = new Place()
    data = place.path('scheduler')
    // Below those of clusters on this machine (scheduler/embedded.ts) and of other tests.
    const begin = 10_000 + (process.pid % 400) * 20
    const resources = (index: number): { cpus: number, memMb: number, diskMb: number, ports: Array<{ begin: number, end: number }> } =>
      ({ cpus: 2, memMb: 2048, diskMb: 4096, ports: [{ begin: begin + index * 4, end: begin + index * 4 + 3 }] })
    const rack = (index: number) => [{ name: 'rack', type: 'TEXT' as const, text: { value: `r${index % 3}` } }]
    master = await startLocalMaster({ clock: systemClock, random: systemRandom, log: quietLog }, {
      workDir: place.path('master'), pingTimeoutMs, credentials, resources: resources(0), attributes: rack(0), hostname: '127.0.0.1',
      moreAgents: [1, 2, 3, 4].map((index) => ({ hostname: `127.0.0.${index + 1}`, resources: resources(index), attributes: rack(index) }))
    })
    scheduler = start(place.command(
      'scheduler', '--master', master.url, '--data', data, '--nodes', '4', '--cpus', '0.5', '--mem', '256', '--disk', '1024', '--replace-after', String(replaceAfterSeconds),
      '--secret-file', writeSecret(), '--constraint', 'rack<=2'
    ), { limitMs: 240_000 }).child
    await until('four running nodes', async () => (await states()).filter((state) => state === 'running').length === 4)
  })

  after(async () => {
    if (place === undefined) return
    await place.atoll('umount', place.mount, '--data', place.path('client')).catch(() => {})
    scheduler?.kill('SIGTERM')
    await master?.shutdown().catch(() => {})
    await place.clean()
  })

  function writeSecret (): string {
    const path = join(place.folder('secrets'), 'atoll')
    writeFileSync(path, 'atoll secret')
    return path
  }

  async function show (): Promise<FrameworkStatus> {
    let status: FrameworkStatus | null = null
    await until('the scheduler tells', async () => {
      const { code, stdout } = await place.atoll('scheduler', 'show', '--json', '--data', data)
      if (code === 0) status = JSON.parse(stdout) as FrameworkStatus
      return status !== null
    })
    return status!
  }

  async function states (): Promise<string[]> { return (await show()).nodes.map(({ state }) => state) }

  async function operator (body: object): Promise<void> {
    const authorization = `Basic ${Buffer.from('operator:secret').toString('base64')}`
    const response = await fetch(`${master.url}/api/v1`, { method: 'POST', headers: { 'content-type': 'application/json', authorization }, body: JSON.stringify(body) })
    expect(response.status).to.equal(200)
  }

  function processesOf (id: string): number[] {
    const ours = new Set(processesNaming(place.root))
    return processesNaming(`"nodeId":"${id}"`).filter((pid) => ours.has(pid))
  }

  const agentIdOf = (status: FrameworkStatus, id: string): string => status.nodes.find((node) => node.id === id)!.agentId!

  it('an agent dies for good, another one is drained and comes back, all nodes are updated: the copy sees no error', async () => {
    const seeds = (await show()).nodes.map(({ host, rpcPort }) => `${host}:${rpcPort}`).join()
    await until('a volume', async () => (await place.atoll('volume', 'create', 'main', '--cluster', seeds, '--replicas', '3', '--data-partitions', '6')).code === 0)
    for (const name of ['mnt', 'client', 'client/logs', 'client/mounts']) place.folder(name)
    await place.well('mount', 'main', place.mount, '--cluster', seeds, '--data', place.path('client'))
    const copy: Running = start(['sh', '-c', `
      cd '${place.root}'; head -c 4000000 /dev/urandom > source; sum=$(sha256sum < source); i=0
      while [ ! -e stop ]; do
        cp source mnt/copy-$((i % 4)) || { echo "copy $i failed"; exit 1; }
        [ "$(sha256sum < mnt/copy-$((i % 4)))" = "$sum" ] || { echo "copy $i differs"; exit 1; }
        i=$((i + 1)); sleep 0.1
      done; echo "$i copies"`], { limitMs: 230_000 })

    const before = await show()
    const lost = before.nodes.find(({ id }) => id === 'node-4')!
    master.setPresence(lost.agentId!, 'away')
    for (const pid of processesOf('node-4')) kill(pid, 'SIGKILL')
    await until('a stand-in that runs, on the fifth agent', async () => {
      const { nodes } = await show()
      return nodes.find(({ id }) => id === 'node-5')?.state === 'running' && nodes.find(({ id }) => id === 'node-4')?.missing === true
    }, 90_000)
    expect(copy.child.exitCode, copy.text()).to.equal(null)

    const drained = agentIdOf(await show(), 'node-3')
    await operator({ type: 'DRAIN_AGENT', drain_agent: { agent_id: { value: drained } } })
    await until('node-3 has ended', async () => (await show()).nodes.find(({ id }) => id === 'node-3')!.task === null)
    await operator({ type: 'REACTIVATE_AGENT', reactivate_agent: { agent_id: { value: drained } } })
    let back: NodeStatus
    await until('node-3 runs again', async () => (back = (await show()).nodes.find(({ id }) => id === 'node-3')!).state === 'running')
    expect(back!.attempts).to.equal(0)

    await place.well('scheduler', 'update', '--env', 'ATOLL_TEST=changed', '--cpus', '0.75', '--disk', '1200', '--data', data)
    let running: NodeStatus[] = []
    await until('all nodes have the new configuration', async () => {
      const { nodes, plans } = await show()
      running = nodes.filter(({ state }) => state === 'running')
      return plans.find(({ name }) => name === 'update')!.status === 'complete' && running.length === 4 && running.every(({ outdated }) => !outdated)
    }, 120_000)
    expect(running.map(({ disk }) => disk!.sizeMb)).to.deep.equal([1200, 1200, 1200, 1200])
    expect((await place.atoll('scheduler', 'update', '--disk', '1100', '--data', data)).stderr).to.contain('ATOLL_VOLUME_SIZE').and.contain('volumes cannot shrink')
    expect(processesNaming('ATOLL_TEST=changed')).to.include.members(processesOf('node-1'))

    writeFileSync(place.path('stop'), '')
    const { code, stdout, stderr } = await copy.outcome
    expect(stdout + stderr).to.match(/^\d+ copies\n$/)
    expect(code).to.equal(0)
    expect(Number(stdout.split(' ')[0])).to.be.greaterThan(5)
    await place.well('scrub', '--cluster', seeds)
  })

  it('explain tells why the stand-in is where it is, and the uninstall leaves nothing behind', async () => {
    const { stdout } = await place.well('scheduler', 'explain', 'node-5', '--data', data)
    expect(stdout).to.contain('node-5 on').and.contain('taken').and.contain('constraint rack<=2')
    await place.well('umount', place.mount, '--data', place.path('client'))
    // What the agent that died for good holds cannot be given back: it is declared gone.
    const { nodes } = await show()
    await operator({ type: 'MARK_AGENT_GONE', mark_agent_gone: { agent_id: { value: nodes.find(({ id }) => id === 'node-4')?.agentId ?? '' } } }).catch(() => {})
    await place.well('scheduler', 'uninstall', '--dry-run', '--data', data)
    const refused = await place.atoll('scheduler', 'uninstall', '--data', data)
    expect([refused.code, refused.stderr]).to.satisfy(([code, text]: [number, string]) => code === 2 && text.includes('--yes'))
    await place.well('scheduler', 'uninstall', '--yes', '--data', data)
    await until('the scheduler has ended', () => scheduler.exitCode !== null)
    expect(scheduler.exitCode).to.equal(0)
    const authorization = `Basic ${Buffer.from('operator:secret').toString('base64')}`
    const answer = await fetch(`${master.url}/api/v1`, { method: 'POST', headers: { 'content-type': 'application/json', authorization }, body: '{"type":"GET_AGENTS"}' })
    expect(await answer.text()).to.not.contain('resource_id')
  })
})
