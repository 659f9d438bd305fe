import { expect } from 'chai'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { FrameworkStatus } from '../../scheduler/framework/index.ts'
import { atoll, kill, run, start, until, type Outcome, type Running } from './harness.ts'

/** Nobody listens there. */
const nowhere = '127.0.0.1:9'

describe('a scheduler is asked by its data directory', function () {
  this.timeout(60_000)
  let root: string
  let running: Running

  beforeEach(() => { root = mkdtempSync('/tmp/atoll-operate-') })
  afterEach(() => {
    kill(running.child.pid!, 'SIGKILL')
    rmSync(root, { recursive: true, force: true })
  })

  const show = (): Promise<Outcome> => run([process.execPath, atoll, 'scheduler', 'show', '--json', '--data', root])
  const operatorFile = (): boolean => existsSync(join(root, 'operator.json'))

  async function startScheduler (...words: string[]): Promise<void> {
    running = start([process.execPath, atoll, 'scheduler', '--master', nowhere, '--data', root, ...words])
    await until(`the file, after: ${running.text()}`, operatorFile, 30_000)
  }

  async function ends (): Promise<void> {
    kill(running.child.pid!, 'SIGTERM')
    expect((await running.outcome).code, running.text()).to.equal(0)
    expect(operatorFile()).to.equal(false)
    const after = await show()
    expect([after.code, after.stderr]).to.satisfy(([code, text]: [number, string]) => code === 3 && text.startsWith('atoll: ATOLL_UNREACHABLE: no scheduler'))
  }

  it('while it stands by, or cannot see whether another one acts: it says that it does not act', async () => {
    await startScheduler('--cluster', nowhere)
    const asked = await show()
    expect([asked.code, asked.stdout]).to.deep.equal([1, ''])
    expect(asked.stderr).to.match(/^atoll: ATOLL_STANDBY: this scheduler does not act yet/)
    await ends()
  })

  it('while it acts, also without a master', async () => {
    await startScheduler()
    let status: FrameworkStatus | null = null
    await until('it acts', async () => {
      const { code, stdout } = await show()
      status = code === 0 ? JSON.parse(stdout) as FrameworkStatus : null
      return status !== null
    })
    expect(status).to.include({ goal: 'running', connected: false, nodesWanted: 3 })
    await ends()
  })
})
