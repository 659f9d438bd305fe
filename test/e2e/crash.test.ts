import { expect } from 'chai'
import { existsSync, readdirSync } from 'node:fs'
import { childrenOf } from '../../cli/processes.ts'
import { defaultJournal } from '../../fuse/mount/journal-owner.ts'
import { canMount, isAlive, kill, managerLeader, Place, processesNaming, run, sh, start, sumOf, until, type Running } from './harness.ts'

const largeMb = 96

describe('kill -9 of any process', function () {
  this.timeout(180_000)
  // Real processes on a machine that others use, too: once may be bad luck.
  this.retries(1)
  let place: Place
  let sum: string
  let files = 0

  before(async function () {
    if (!canMount()) this.skip()
    place = new Place()
    await place.up()
    await sh(`head -c ${largeMb}M /dev/urandom > '${place.path('large')}'`)
    sum = await sumOf(place.path('large'))
  })
  after(async () => { await place?.clean() })

  /** Copies in, slowly enough that something can happen meanwhile: a quarter, `between`, the rest. */
  async function copyAround (between: () => Promise<void>): Promise<string> {
    const target = `${place.mount}/copy-${files++}`
    const copy: Running = start(['sh', '-c', `for i in 0 1 2 3 4 5; do dd if='${place.path('large')}' of='${target}' bs=1M count=16 skip=$((i * 16)) seek=$((i * 16)) conv=notrunc status=none || exit 1; echo $i; sleep 0.1; done`])
    await until('the copy is under way', () => copy.text().includes('1\n'))
    await between()
    const { code, stderr } = await copy.outcome
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' })
    return target
  }

  async function nodePid (id: string): Promise<number> {
    return (await place.status()).nodes.find((node) => node.id === id)!.pid!
  }

  /** Kills a node during a copy and waits until everything is as it was. It is not launched again before it was seen to be missed. */
  async function survives (id: string): Promise<void> {
    const pid = await nodePid(id)
    const { scheduler } = place.clusterFile
    const target = await copyAround(async () => {
      kill(scheduler.pid, 'SIGSTOP')
      kill(pid, 'SIGKILL')
      let report = await place.status()
      await until(`${id} is missed`, async () => (report = await place.status()).health !== 'healthy').finally(() => { kill(scheduler.pid, 'SIGCONT') })
      expect(report.partitions.degraded + report.partitions.unavailable).to.be.greaterThan(0)
      expect(report.problems.map(({ command }) => command).every((command) => command.length > 0)).to.equal(true)
    })
    await place.untilHealthy()
    const next = await nodePid(id)
    expect(next).to.not.equal(pid)
    expect(isAlive(pid)).to.equal(false)
    expect(await sumOf(target)).to.equal(sum)
    // From the nodes, not from the kernel's memory.
    await sh('sync; echo 3 > /proc/sys/vm/drop_caches')
    expect(await sumOf(target)).to.equal(sum)
  }

  async function scrubFindsEqual (): Promise<void> {
    const { stdout } = await place.well('scrub', '--json', '--dry-run', '--data', place.data)
    const rows: Array<{ chunks: number, damaged: number, differing: number, failures: unknown[] }> = JSON.parse(stdout)
    expect(rows.length).to.be.greaterThan(0)
    expect(rows.reduce((chunks, row) => chunks + row.chunks, 0)).to.be.greaterThan(0)
    expect(rows.filter((row) => row.damaged + row.differing + row.failures.length > 0)).to.deep.equal([])
  }

  it('a node, and then the one that leads the manager: no error, launched again on its volume, healed', async () => {
    const volumes = (): string[] => readdirSync(`${place.data}/scheduler/master/volumes/roles/atoll`).sort()
    const before = volumes()
    expect(before).to.have.length(3)
    const leader = await managerLeader(place)
    const other = place.clusterFile.nodes.find(({ id }) => id !== leader)!.id
    await survives(other)
    await survives(leader)
    expect(volumes()).to.deep.equal(before)
    await scrubFindsEqual()
  })

  it('the scheduler: the mount goes on, status says so, and `up` takes the same nodes over', async () => {
    const { scheduler, clusterId } = place.clusterFile
    const before = await place.status()
    const target = await copyAround(async () => { kill(scheduler.pid, 'SIGKILL') })
    expect(await sumOf(target)).to.equal(sum)
    const missing = await place.status()
    const problem = missing.problems.find(({ code }) => code === 'ATOLL_SCHEDULER_DOWN')
    expect(problem?.command).to.equal(`atoll up --detach --data ${place.data}`)
    await place.up()
    expect(place.clusterFile.scheduler.pid).to.not.equal(scheduler.pid)
    expect(place.clusterFile.clusterId).to.equal(clusterId)
    await place.untilHealthy()
    const after = await place.status()
    expect(after.nodes.map(({ id, pid }) => ({ id, pid }))).to.deep.equal(before.nodes.map(({ id, pid }) => ({ id, pid })))
    expect(after.mounts.map(({ pid }) => pid)).to.deep.equal(before.mounts.map(({ pid }) => pid))
    // It is theirs again: a node that dies comes back.
    const { id, pid } = after.nodes[0]!
    kill(pid!, 'SIGKILL')
    await until('launched again', async () => {
      const now = (await place.status()).nodes.find((node) => node.id === id)!.pid
      return now !== undefined && now !== pid
    })
    await place.untilHealthy()
  })

  it('the worker of a mount: a copy does not notice', async () => {
    const holder = (await place.status()).mounts[0]!.pid
    const [worker] = childrenOf(holder) as [number]
    const target = await copyAround(async () => {
      kill(worker, 'SIGKILL')
      await until('another worker', () => childrenOf(holder).some((pid) => pid !== worker))
    })
    expect(await sumOf(target)).to.equal(sum)
  })

  it('the holder of a mount: status says what is wrong, and the command that it names helps', async () => {
    const holder = (await place.status()).mounts[0]!.pid
    const [worker] = childrenOf(holder) as [number]
    kill(holder, 'SIGKILL')
    await until('gone', () => !isAlive(holder))
    const { problems, health } = await place.status()
    expect(health).to.equal('degraded')
    const problem = problems.find(({ code }) => code === 'ATOLL_MOUNT_DEAD')!
    expect(problem.cause).to.include(place.mount)
    await sh(withCommand(problem.command))
    expect(isAlive(worker)).to.equal(false)
    expect(await sumOf(`${place.mount}/copy-0`)).to.equal(sum)
    await place.untilHealthy()
  })

  it('holder and worker: the same, although nobody serves the mount', async () => {
    const holder = (await place.status()).mounts[0]!.pid
    const workers = childrenOf(holder)
    kill(holder, 'SIGKILL')
    for (const worker of workers) kill(worker, 'SIGKILL')
    await until('gone', () => ![holder, ...workers].some(isAlive))
    expect((await run(['stat', place.mount])).code).to.not.equal(0)
    const problem = (await place.status()).problems.find(({ code }) => code === 'ATOLL_MOUNT_DEAD')!
    const journal = defaultJournal(place.mount)
    expect(existsSync(journal)).to.equal(true)
    await place.well('umount', place.mount, '--data', place.data)
    expect(existsSync(journal), 'its journal').to.equal(false)
    await sh(withCommand(problem.command.split(' && ')[1]!))
    expect(await sumOf(`${place.mount}/copy-0`)).to.equal(sum)
    await place.untilHealthy()
  })

  /** Whoever is killed last may have started others meanwhile. */
  async function killAll (): Promise<void> {
    await until('gone', () => {
      const processes = processesNaming(place.root)
      for (const pid of processes) kill(pid, 'SIGKILL')
      return processes.length === 0
    })
  }

  it('everything: `down` clears up, and `up` has it all', async () => {
    await killAll()
    expect((await place.atoll('status', '--data', place.data)).code).to.equal(3)
    expect(existsSync(defaultJournal(place.mount))).to.equal(true)
    await place.down()
    expect(existsSync(defaultJournal(place.mount)), 'its journal').to.equal(false)
    expect(place.leftovers).to.deep.equal({ processes: [], mounts: [] })
    const again = await place.down()
    expect(again.stdout).to.include('nothing was running')
    await place.up()
    expect(await sumOf(`${place.mount}/copy-0`)).to.equal(sum)
    await place.untilHealthy()
    await place.well('fsck', '--data', place.data)
  })

  it('everything again, and `up` without `down`', async () => {
    await killAll()
    await place.up()
    expect(await sumOf(`${place.mount}/copy-0`)).to.equal(sum)
    await place.untilHealthy()
    await scrubFindsEqual()
  })
})

/** What is printed for people to type. */
function withCommand (text: string): string {
  return text.replaceAll(/\batoll (?=umount|mount)/g, `'${process.execPath}' '${new URL('../../cli/atoll.js', import.meta.url).pathname}' `)
}
