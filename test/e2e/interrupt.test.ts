import { expect } from 'chai'
import { setTimeout as delay } from 'node:timers/promises'
import { DataDirectory } from '../../cli/data-directory.ts'
import { canMount, isAlive, kill, Place, sh, start, until, type Running } from './harness.ts'

/** Moments of a start at which it is interrupted are so far apart; those of a slow one, half as long again as the one before. */
const stepMs = 800
const evenSteps = 5
const exitLimitMs = 30_000
/** Less than what a command waits for a cluster that does not answer. */
const soonMs = 30_000

describe('Ctrl-C', function () {
  this.timeout(240_000)
  // Real processes on a machine that others use, too: once may be bad luck.
  this.retries(1)
  let place: Place

  before(function () {
    if (!canMount()) this.skip()
    place = new Place()
  })
  after(async () => { await place?.clean() })

  function startUp (...more: string[]): Running {
    return start(place.command(...place.upWords(...more)), { limitMs: 120_000 })
  }

  /** So that nobody can mount, though a node tells where all are, and a stop is held up. Until the function that comes back is called. */
  function stopMajority (directory: DataDirectory): () => void {
    const [, ...stopped] = directory.nodeProcesses()
    for (const { pid } of stopped) kill(pid, 'SIGSTOP')
    return () => { for (const { pid } of stopped) kill(pid, 'SIGCONT') }
  }

  async function ended (up: Running): Promise<number | null> {
    await until(`ended, after: ${up.text()}`, () => up.child.exitCode !== null || up.child.signalCode !== null, exitLimitMs)
    return up.child.exitCode
  }

  /** Interrupts starts, each a little later than the one before, until one was through; then it is in the foreground. */
  async function interruptAtEachStep (signals: NodeJS.Signals[]): Promise<Set<string>> {
    const reached = new Set<string>()
    for (let step = 0, atMs = 0; ; step++, atMs += step < evenSteps ? stepMs : atMs / 2) {
      const up = startUp()
      await delay(atMs)
      const isThrough = up.text().includes('Ctrl-C stops it')
      kill(up.child.pid!, signals[step % signals.length]!)
      const code = await ended(up)
      // Before the command has set itself up, the signal ends it as it ends any program.
      if (up.child.signalCode === null) expect(code, up.text()).to.be.oneOf([0, 1])
      expect({ step, ...place.leftovers }, up.text()).to.deep.equal({ step, processes: [], mounts: [] })
      reached.add(up.text().trimEnd().split('\n').filter((line) => !/^(atoll:| )/.test(line)).at(-1)?.split(' ')[0] ?? '')
      if (isThrough) return reached
    }
  }

  it(`and SIGTERM, every ${stepMs} ms of a first start: no process and no mount stays`, async () => {
    const reached = await interruptAtEachStep(['SIGINT', 'SIGTERM'])
    expect(reached.size, [...reached].join()).to.be.greaterThan(2)
  })

  it('after all that a start works; in the foreground it ends everything, and the data stays', async () => {
    const up = startUp()
    await until('in the foreground', () => up.text().includes('Ctrl-C stops it'))
    await sh(`echo kept > '${place.mount}/file'`)
    // As a terminal does: twice, because people are impatient.
    kill(up.child.pid!, 'SIGINT')
    await delay(200)
    kill(up.child.pid!, 'SIGINT')
    expect(await ended(up)).to.equal(0)
    expect(up.text()).to.include(`unmounted ${place.mount}`)
    expect(place.leftovers).to.deep.equal({ processes: [], mounts: [] })
    await place.up()
    expect(await sh(`cat '${place.mount}/file'`)).to.equal('kept\n')
    await place.untilHealthy()
  })

  it('given while the one in the foreground stops: it waits for that, then really starts; `down` meanwhile stops the same', async () => {
    await place.atoll('down', '--data', place.data)
    const first = startUp()
    await until('in the foreground', () => first.text().includes('Ctrl-C stops it'))
    await sh(`echo kept > '${place.mount}/file'`)
    const { pid } = place.clusterFile.scheduler
    // A scheduler that does not end holds the stop up until the others have come.
    kill(pid, 'SIGSTOP')
    kill(first.child.pid!, 'SIGINT')
    await until('it stops', () => new DataDirectory(place.data).stoppers().length > 0)
    const down = start(place.command('down', '--data', place.data))
    await until('`down` joins in', () => new DataDirectory(place.data).stoppers().some((stopper) => stopper.pid === down.child.pid))
    const second = startUp('--detach')
    await until('the second waits', () => second.child.exitCode !== null || /waiting for process \d+, which is stopping the cluster/.test(second.text()))
    kill(pid, 'SIGCONT')
    expect((await second.outcome).code, second.text()).to.equal(0)
    expect(second.text()).to.match(/waiting for process \d+, which is stopping the cluster/)
    expect(isAlive(pid)).to.equal(false)
    expect(await ended(first)).to.equal(0)
    expect((await down.outcome).code, down.text()).to.equal(0)
    expect(isAlive(place.clusterFile.scheduler.pid)).to.equal(true)
    expect(await sh(`cat '${place.mount}/file'`)).to.equal('kept\n')
    await place.down()
  })

  it('is not needed in the foreground when `down` has stopped the cluster: that one ends, too', async () => {
    const up = startUp()
    await until('in the foreground', () => up.text().includes('Ctrl-C stops it'))
    await place.down()
    expect(await ended(up)).to.equal(0)
    expect(up.text()).to.include('it was stopped by another command').and.to.not.include('ATOLL_SCHEDULER_DOWN')
  })

  it('a start under which the cluster is stopped says so, with its code, and leaves nothing behind', async () => {
    await place.up()
    const directory = new DataDirectory(place.data)
    const goOn = stopMajority(directory)
    const late = start(place.command('up', '--detach', '--data', place.data, '--mount', place.folder('late')))
    await until('it mounts', () => late.text().includes('mounting on'))
    const down = start(place.command('down', '--data', place.data))
    await until('it gives up, and helps to stop', () => late.child.exitCode !== null || directory.stoppers().some((stopper) => stopper.pid === late.child.pid))
    goOn()
    const { code, stderr } = await late.outcome
    expect((await down.outcome).code, down.text()).to.equal(0)
    expect(stderr).to.match(/^atoll: ATOLL_CLUSTER_STOPPING: .*\n {2}start it again: atoll up --data /m)
    expect(code).to.equal(1)
    expect(place.leftovers).to.deep.equal({ processes: [], mounts: [] })
  })

  it('other commands say so, too, soon: given while it is stopped, or before', async () => {
    await place.up()
    const directory = place.folder('other')
    const commands = [['mount', 'main', directory], ['volume', 'create', 'more'], ['status'], ['node', 'list']]
    const mounts = new DataDirectory(place.data)
    const goOn = stopMajority(mounts)
    const early = start(place.command('mount', 'main', directory, '--data', place.data))
    await until('it mounts', () => mounts.mounts().some(({ path }) => path === directory))
    const down = start(place.command('down', '--data', place.data))
    await until('it stops', () => mounts.stoppers().length > 0)
    const outcomes = await Promise.all(commands.map((words) => start(place.command(...words, '--data', place.data), { limitMs: soonMs }).outcome))
    goOn()
    for (const { code, stderr } of [...outcomes, await early.outcome]) {
      expect(stderr).to.match(/^atoll: ATOLL_CLUSTER_STOPPING: process \d+ is stopping the cluster in .*\n {2}start it again: atoll up --data /)
      expect(code).to.equal(1)
    }
    expect((await down.outcome).code, down.text()).to.equal(0)
    expect(place.leftovers).to.deep.equal({ processes: [], mounts: [] })
  })

  it('in the foreground of a cluster whose scheduler is killed: it is told, another start takes over, Ctrl-C ends all', async () => {
    await place.down()
    const up = startUp()
    await until('in the foreground', () => up.text().includes('Ctrl-C stops it'))
    const { pid } = place.clusterFile.scheduler
    kill(pid, 'SIGKILL')
    await until('told', () => up.text().includes('ATOLL_SCHEDULER_DOWN'))
    await place.up()
    expect(isAlive(up.child.pid!)).to.equal(true)
    kill(up.child.pid!, 'SIGINT')
    expect(await ended(up)).to.equal(0)
    expect(place.leftovers).to.deep.equal({ processes: [], mounts: [] })
  })

  it('of a mount under way: nothing is mounted', async () => {
    await place.up()
    const directory = place.folder('other')
    for (const afterMs of [100, 300, 500, 700, 900]) {
      const mount = start(place.command('mount', 'main', directory, '--data', place.data))
      await delay(afterMs)
      kill(mount.child.pid!, 'SIGINT')
      await ended(mount)
      const isMounted = (await place.status()).mounts.some(({ path }) => path === directory)
      expect(isMounted).to.equal(mount.child.exitCode === 0)
      expect(place.leftovers.mounts.includes(directory)).to.equal(isMounted)
      if (isMounted) await place.well('umount', directory, '--data', place.data)
    }
  })
})
