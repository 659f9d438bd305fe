import { expect } from 'chai'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DataDirectory } from '../../cli/data-directory.ts'
import { unlessStopped } from '../../cli/start/stopping.ts'
import { codeOf, posixError } from '../../fsnode/protocol/errors.ts'
import { identify } from '../../fsnode/protocol/processes.ts'

describe('a command that needs a cluster which somebody stops', () => {
  let directory: DataDirectory

  beforeEach(() => {
    directory = new DataDirectory(mkdtempSync('/tmp/atoll-stopping-'))
    directory.prepare()
  })
  afterEach(() => { rmSync(directory.path, { recursive: true }) })

  /** Another process that lives. */
  function stop (): void {
    writeFileSync(join(directory.schedulerDirectory, `stopping.${process.ppid}.json`), JSON.stringify(identify(process.ppid)))
  }

  function outcome (work: (signal: AbortSignal) => Promise<unknown>): Promise<string> {
    return unlessStopped(directory, work).then(() => 'well', codeOf)
  }

  it('is not begun', async () => {
    stop()
    let begun = false
    expect(await outcome(async () => { begun = true })).to.equal('ATOLL_CLUSTER_STOPPING')
    expect(begun).to.equal(false)
  })

  it('is told while it is under way, and may end in order', async () => {
    let ended = false
    expect(await outcome((signal) => new Promise((_, reject) => {
      signal.addEventListener('abort', () => {
        ended = true
        reject(posixError('EIO'))
      })
      stop()
    }))).to.equal('ATOLL_CLUSTER_STOPPING')
    expect(ended).to.equal(true)
  })

  it('says so, whatever the stop made it fail with', async () => {
    expect(await outcome(async () => {
      stop()
      throw posixError('EIO')
    })).to.equal('ATOLL_CLUSTER_STOPPING')
  })

  it('else has its own outcome', async () => {
    expect(await unlessStopped(directory, async () => 5)).to.equal(5)
    expect(await outcome(async () => { throw posixError('EIO') })).to.equal('EIO')
  })
})
