import { expect } from 'chai'
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { atoll, canMount, kill, Place, run, start, until } from './harness.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** As a shell of somebody who has just logged in: without what npm put before the path. */
const environment = { ...process.env, PATH: (process.env.PATH ?? '').split(delimiter).filter((folder) => !folder.includes('node_modules')).join(delimiter) }

/** The machine's own Node, if it is too old for the sources. */
function oldNode (): string | null {
  for (const folder of environment.PATH.split(delimiter)) {
    const file = join(folder, 'node')
    if (!existsSync(file)) continue
    const { stdout } = spawnSync(file, ['--version'], { encoding: 'utf8' })
    return Number(/^v(\d+)/.exec(stdout ?? '')?.[1]) < 22 ? file : null
  }
  return null
}

describe('whatever Node the machine has', function () {
  this.timeout(120_000)
  let place: Place

  before(function () {
    if (spawnSync('npm', ['--version'], { env: environment }).status !== 0) this.skip()
    place = new Place()
  })
  after(async () => { await place?.clean() })

  it('`npx atoll` runs the command, with its output and its exit codes', async () => {
    const npx = (...words: string[]): ReturnType<typeof run> => run(['npx', 'atoll', ...words], { cwd: root, env: environment })
    const version = await npx('--version')
    expect({ code: version.code, stdout: version.stdout }, version.stderr).to.deep.equal({ code: 0, stdout: '0.1.0\n' })
    const none = await npx('status', '--data', place.path('none'))
    expect(none.code).to.equal(3)
    expect(none.stderr).to.match(/^atoll: ATOLL_NO_CLUSTER: /m)
  })

  it('an old Node that is given the command hands over to the project\'s own, signals included', async function () {
    const old = oldNode()
    if (old === null) return this.skip()
    const version = await run([old, atoll, '--version'], { env: environment })
    expect({ code: version.code, stdout: version.stdout, stderr: version.stderr }).to.deep.equal({ code: 0, stdout: '0.1.0\n', stderr: '' })
    expect((await run([old, atoll, 'nonsense'], { env: environment })).code).to.equal(2)
    const up = start([old, atoll, 'up', '--nodes', '1', '--no-mount', '--data', place.data], { env: environment })
    await until('in the foreground', () => up.text().includes('Ctrl-C stops it'))
    kill(up.child.pid!, 'SIGTERM')
    expect((await up.outcome).code).to.equal(0)
    expect(place.leftovers.processes).to.deep.equal([])
  })

  it('an old Node without one says what it needs', async function () {
    const old = oldNode()
    if (old === null) return this.skip()
    copyFileSync(atoll, join(place.folder('alone', 'cli'), 'atoll.mjs'))
    const { code, stderr } = await run([old, place.path('alone', 'cli', 'atoll.mjs'), 'status'], { env: environment })
    expect(code).to.equal(1)
    expect(stderr).to.match(/^atoll: ATOLL_NODE_TOO_OLD: this is Node .*\n {2}.*npm ci/)
  })

  it('`npm start` brings up and mounts, and Ctrl-C in its terminal ends everything', async function () {
    if (!canMount()) return this.skip()
    const other = new Place()
    try {
      const started = start(['setsid', '--wait', 'npm', 'start', '--', '--nodes', '1', '--data', other.data, '--mount', other.mount], { cwd: root, env: environment })
      await until('in the foreground', () => started.text().includes('Ctrl-C stops it'))
      expect(other.leftovers.mounts).to.deep.equal([other.mount])
      // A terminal sends it to all of the foreground's processes.
      const group = spawnSync('ps', ['-o', 'pgid=', '--ppid', String(started.child.pid)], { encoding: 'utf8' }).stdout.trim()
      kill(-Number(group || started.child.pid), 'SIGINT')
      await until('ended', () => started.child.exitCode !== null || started.child.signalCode !== null)
      expect(started.text()).to.include('stopped the nodes and the scheduler')
      await until('nothing is left', () => other.leftovers.processes.length + other.leftovers.mounts.length === 0)
    } finally {
      await other.clean()
    }
  })
})
