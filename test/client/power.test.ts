import { expect } from 'chai'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { chunkAccess } from '../../fsnode/server/chunk-access.ts'
import { losePower, me, pattern, TestCluster, type TestVolume } from './cluster.ts'

describe('client: bytes that all replicas lost with their power', () => {
  let cluster: TestCluster
  let a: TestVolume
  beforeEach(async () => {
    cluster = await TestCluster.open()
    a = await cluster.client()
  })

  it('a sync after the loss of what was written before fails, once for each handle; the next counts for what is written after', async () => {
    const { file } = await a.run(a.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))
    const other = await a.run(a.volume.open(file.ino, { write: true }))
    await a.run(file.write(0, [pattern(100_000)]))
    losePower(cluster)
    expect(await a.code(file.sync())).to.equal('EIO')
    expect(await a.code(file.sync())).to.equal('well')
    expect(await a.code(other.sync())).to.equal('EIO')
    expect(await a.code(other.sync())).to.equal('well')
    await a.run(file.write(0, [pattern(100_000)]))
    expect(await a.code(file.sync())).to.equal('well')
  })

  it('what was synced before the loss, or written after it, is no reason to fail', async () => {
    const { file } = await a.run(a.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))
    await a.run(file.write(0, [pattern(100_000)]))
    await a.run(file.sync())
    losePower(cluster)
    await a.run(file.write(0, [pattern(100_000)]))
    expect(await a.code(file.sync())).to.equal('well')
  })

  it('a file that was closed before the loss tells the next handle', async () => {
    const ino = await a.put('f', pattern(100_000))
    losePower(cluster)
    expect(await a.code(a.volume.sync())).to.equal('EIO')
    const file = await a.run(a.volume.open(ino, { write: false }))
    expect(await a.code(file.sync())).to.equal('EIO')
    expect(await a.code(file.sync())).to.equal('well')
  })

  it('content in the record of an inode stays there when what it was to be replaced with is lost', async () => {
    const { file } = await a.run(a.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))
    await a.run(file.write(0, [Buffer.from('synced')]))
    await a.run(file.sync())
    await a.run(file.write(50_000, [pattern(50_000)]))
    losePower(cluster)
    expect(await a.code(file.flush())).to.equal('EIO')
    expect((await (await cluster.client()).get('f')).toString()).to.equal('synced')
    expect((await a.get('f')).toString()).to.equal('synced')
    await a.run(file.write(0, [Buffer.from('again')]))
    expect(await a.code(file.sync())).to.equal('well')
    expect((await a.get('f')).toString()).to.equal('againd')
  })

  it('what a partition moves or cuts durably is done again', async () => {
    let losses = 0
    const done: string[] = []
    const data = chunkAccess({
      partitionOfChunk: () => '7.d.0',
      toPrimary: (async (_: string, method: string, build: (epoch: number, partition: object) => object) => {
        build(1, { losses })
        done.push(method)
        if (done.length === 1) losses++
        return { body: {}, payload: [] }
      }) as never
    }, 'w')
    await data.writeChunk(7, 2, 0, 0, Buffer.from('x'))
    expect(done.splice(0)).to.deep.equal(['data.write', 'data.sync', 'data.write', 'data.sync'])
    await data.truncateChunk(7, 2, 0, 0, true)
    expect(done.splice(0)).to.deep.equal(['data.truncate', 'data.sync', 'data.truncate', 'data.sync'])
    await data.truncateChunk(7, 2, 0, 0, false)
    expect(done).to.deep.equal(['data.truncate'])
  })

  it('what a partition moves or cuts is not done by a leader that is one no more, and done again when somebody was faster', async () => {
    const done: string[] = []
    let changed = false
    const data = chunkAccess({
      partitionOfChunk: () => '7.d.0',
      toPrimary: (async (_: string, method: string, build: (epoch: number, partition: object) => { since?: { order: number } }) => {
        const { since } = build(1, {})
        done.push(since === undefined ? method : `${method} since ${since.order}`)
        if (!changed && since !== undefined) {
          changed = true
          throw new AtollError('ATOLL_CHANGED', 'changed')
        }
        return { body: { origin: 'o', order: done.length }, payload: [] }
      }) as never
    }, 'w')
    await data.writeChunk(7, 2, 0, 0, Buffer.from('x'), async () => {})
    expect(done.splice(0)).to.deep.equal(['data.position', 'data.write since 1', 'data.position', 'data.write since 3', 'data.sync'])
    const deposed = data.truncateChunk(7, 2, 0, 0, true, async () => { throw new AtollError('ATOLL_NOT_LEADER', 'another leads') })
    expect(await deposed.catch((error) => error.code)).to.equal('ATOLL_NOT_LEADER')
    expect(done).to.deep.equal(['data.position'])
  })
})
