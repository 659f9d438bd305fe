import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, mkdtempSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { identify, isAlive, type ProcessId } from '../../fsnode/protocol/processes.ts'
import { FileJournal } from '../../fuse/mount/journal.ts'
import { claimJournal, clearDeadJournals, defaultJournal, ownOwner } from '../../fuse/mount/journal-owner.ts'
import { holderEnvironment, workerEnvironment } from '../../fuse/mount/types.ts'

describe('fuse journal: whose it is', () => {
  const children: ChildProcess[] = []
  let directory: string
  let path: string

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'atoll-journals-'))
    path = join(directory, 'atoll-0123456789abcdef.journal')
  })
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
    rmSync(directory, { recursive: true })
  })

  async function processWith (environment: Record<string, string>): Promise<{ id: ProcessId, end: () => Promise<void> }> {
    const child = spawn('sleep', ['60'], { env: { ...process.env, ...environment }, stdio: 'ignore' })
    children.push(child)
    await once(child, 'spawn')
    const end = async (): Promise<void> => {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    return { id: identify(child.pid!)!, end }
  }

  async function deadProcess (): Promise<ProcessId> {
    const { id, end } = await processWith({})
    await end()
    expect(isAlive(id)).to.equal(false)
    return id
  }

  it('of a holder that lives it stays, of a dead one it goes, with all that a worker has made of it', async () => {
    const { id, end } = await processWith({})
    claimJournal(path, { ...ownOwner(), holder: id })
    const journal = FileJournal.open(path, 64 * 1024)
    journal.record(1, 0, [Buffer.from('acknowledged')])
    expect(statSync(path).size).to.equal(4096 + 64 * 1024)
    expect(clearDeadJournals(directory)).to.deep.equal([])
    await end()
    expect(clearDeadJournals(directory)).to.deep.equal([path])
    expect(existsSync(path)).to.equal(false)
    journal.close()
  })

  it('a journal that was claimed is whole for the workers that open it one after the other', () => {
    claimJournal(path)
    for (const waiting of [1, 2, 3]) {
      const journal = FileJournal.open(path, 64 * 1024)
      journal.record(1, waiting, [Buffer.from('x')])
      expect(journal.waiting).to.equal(waiting)
      journal.close()
    }
    expect(FileJournal.open(path).recover().map(({ offset }) => offset)).to.deep.equal([1, 2, 3])
    expect(() => { claimJournal(path) }).to.throw(/EEXIST/)
  })

  it('while a worker serves on without its holder, or another holder has begun, it stays', async () => {
    claimJournal(path, { ...ownOwner(), holder: await deadProcess() })
    for (const [name, init] of [[workerEnvironment, { journal: path }], [holderEnvironment, { mountPoint: '/mnt', journal: path }]] as const) {
      const { end } = await processWith({ [name]: JSON.stringify(init) })
      expect(clearDeadJournals(directory)).to.deep.equal([])
      await end()
    }
    const other = await processWith({ [workerEnvironment]: JSON.stringify({ journal: defaultJournal('/other') }) })
    expect(isAlive(other.id)).to.equal(true)
    expect(clearDeadJournals(directory)).to.deep.equal([path])
  })

  it('of other name spaces, or of nobody who is known, it stays', async () => {
    const holder = await deadProcess()
    const { namespaces } = ownOwner()
    for (const kind of ['mnt', 'pid', 'user']) {
      claimJournal(path, { holder, namespaces: namespaces.replace(new RegExp(`${kind}:\\[\\d+\\]`), `${kind}:[1]`) })
      expect(clearDeadJournals(directory), kind).to.deep.equal([])
      rmSync(path)
    }
    for (const text of ['', 'x'.repeat(5000), `${'\0'.repeat(64)}{"holder":1}`, `${'\0'.repeat(64)}null`]) {
      writeFileSync(path, text)
      expect(clearDeadJournals(directory), text.slice(0, 100)).to.deep.equal([])
    }
    truncateSync(path)
    FileJournal.open(path, 64 * 1024).close()
    expect(clearDeadJournals(directory)).to.deep.equal([])
  })

  it('of another user, behind a link, or under another name, it stays', async function () {
    const owner = { ...ownOwner(), holder: await deadProcess() }
    const named = join(directory, 'atoll-mine.journal')
    claimJournal(named, owner)
    symlinkSync(named, path)
    expect(clearDeadJournals(directory)).to.deep.equal([])
    rmSync(path)
    if (process.geteuid?.() !== 0) this.skip()
    claimJournal(path, owner)
    chownSync(path, 12_345, 12_345)
    expect(clearDeadJournals(directory)).to.deep.equal([])
  })
})
