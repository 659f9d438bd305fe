import { expect } from 'chai'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../../../fsnode/protocol/pino-log.ts'
import { detectResources } from '../../../scheduler/local/agent/machine.ts'
import { Sandboxes } from '../../../scheduler/local/agent/sandbox.ts'
import { outputLengthMaxBytes, sandboxesKeptMax } from '../../../scheduler/local/constants.ts'
import { totalScalar } from '../../../scheduler/local/core/resources.ts'

describe('sandboxes', () => {
  let workDir: string
  let sandboxes: Sandboxes
  beforeEach(async () => {
    workDir = await mkdtemp(join(tmpdir(), 'atoll-sandbox-'))
    sandboxes = new Sandboxes({ log: silentLog }, { workDir })
    await sandboxes.prepare()
  })
  afterEach(async () => {
    await sandboxes.settled()
    await rm(workDir, { recursive: true, force: true })
  })

  it('a volume is a link at its container path, which may lie deeper', async () => {
    await sandboxes.create('t', [{ role: 'a/b', id: 'v', containerPath: 'deep/er/data' }])
    expect(await readlink(join(workDir, 'tasks/t/deep/er/data'))).to.equal(join(workDir, 'volumes/roles/a b/v'))
  })

  it('a task id that is used again gets an empty sandbox, and the volume keeps its files', async () => {
    const volumes = [{ role: 'r', id: 'v', containerPath: 'data' }]
    await sandboxes.create('t', volumes)
    await writeFile(join(workDir, 'tasks/t/data/file'), 'kept')
    await writeFile(join(workDir, 'tasks/t/stdout'), 'old')
    await sandboxes.create('t', volumes)
    expect(await readdir(join(workDir, 'tasks/t'))).to.deep.equal(['data'])
    await sandboxes.settled()
    expect(await readFile(join(workDir, 'volumes/roles/r/v/file'), 'utf8')).to.equal('kept')
    expect(await readdir(join(workDir, 'trash'))).to.deep.equal([])
  })

  it('a destroyed volume is gone at once, and one of its id begins empty', async () => {
    await sandboxes.createVolume({ role: 'r', id: 'v' })
    await writeFile(join(workDir, 'volumes/roles/r/v/file'), '')
    await sandboxes.destroyVolume({ role: 'r', id: 'v' })
    expect(existsSync(join(workDir, 'volumes/roles/r/v'))).to.equal(false)
    await sandboxes.createVolume({ role: 'r', id: 'v' })
    expect(await readdir(join(workDir, 'volumes/roles/r/v'))).to.deep.equal([])
    await sandboxes.destroyVolume({ role: 'r', id: 'never-created' })
  })

  it('a volume of a PATH disk lies below its root, that of a MOUNT disk is the root, which stays when the volume is destroyed', async () => {
    const path = { role: 'r', id: 'v', containerPath: 'path', source: { type: 'PATH' as const, path: { root: join(workDir, 'path') } } }
    const mount = { role: 'r', id: 'v', containerPath: 'mount', source: { type: 'MOUNT' as const, mount: { root: join(workDir, 'mount') } } }
    await sandboxes.create('t', [path, mount])
    for (const { containerPath } of [path, mount]) await writeFile(join(workDir, 'tasks/t', containerPath, 'marker'), '')
    expect(await readdir(join(workDir, 'path/volumes/roles/r/v'))).to.deep.equal(['marker'])
    expect(await readdir(join(workDir, 'mount'))).to.deep.equal(['marker'])
    for (const volume of [path, mount]) await sandboxes.destroyVolume(volume)
    expect(await readdir(join(workDir, 'path/volumes/roles/r'))).to.deep.equal([])
    expect(await readdir(join(workDir, 'mount'))).to.deep.equal([])
  })

  it('what a crash left in the trash is removed by the next start', async () => {
    await sandboxes.settled()
    await mkdir(join(workDir, 'trash/left/over'), { recursive: true })
    const next = new Sandboxes({ log: silentLog }, { workDir })
    await next.prepare()
    await next.settled()
    expect(await readdir(join(workDir, 'trash'))).to.deep.equal([])
  })

  it('the newest sandboxes of ended tasks are kept, and all of living ones', async () => {
    for (let number = 0; number < sandboxesKeptMax + 5; number++) {
      const path = await sandboxes.create(`t${number}`, [])
      await utimes(path, 1000 + number, 1000 + number)
    }
    await sandboxes.prune(new Set(['t0', 't1']))
    const left = await readdir(join(workDir, 'tasks'))
    expect(left).to.have.length(sandboxesKeptMax + 2)
    expect(left).to.include.members(['t0', 't1', 't5', `t${sandboxesKeptMax + 4}`])
    expect(left).not.to.include.members(['t2'])
  })

  it('long output moves aside while its writer goes on', async () => {
    await sandboxes.create('t', [])
    const file = await sandboxes.openOutput('t', 'stdout')
    await truncate(join(workDir, 'tasks/t/stdout'), outputLengthMaxBytes + 1)
    await sandboxes.limitOutput('t')
    await file.write('more')
    await file.close()
    expect(await readFile(join(workDir, 'tasks/t/stdout'), 'utf8')).to.equal('more')
    expect((await stat(join(workDir, 'tasks/t/stdout.1'))).size).to.equal(outputLengthMaxBytes + 1)
  })

  it('the machine offers what it has, unless told otherwise', async () => {
    const found = await detectResources(workDir, {})
    for (const name of ['cpus', 'mem', 'disk']) expect(totalScalar(found, name), name).to.be.above(0)
    const told = await detectResources(workDir, { cpus: 1.5, memMb: 10, diskMb: 20, ports: [] })
    expect(told.map(({ scalar }) => scalar?.value)).to.deep.equal([1.5, 10, 20, undefined])
    const [, , , , disk] = await detectResources(workDir, { disks: [{ type: 'MOUNT', root: '/mnt/1', diskMb: 32 }] })
    expect(disk).to.deep.equal({ name: 'disk', type: 'SCALAR', scalar: { value: 32 }, disk: { source: { type: 'MOUNT', mount: { root: '/mnt/1' } } } })
  })
})
