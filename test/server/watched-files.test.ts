import { expect } from 'chai'
import { watchedFiles, watchedKv } from '../../fsnode/server/watched-files.ts'
import { MemoryFiles } from '../sim/memory-files.ts'
import { MemoryKv } from '../sim/memory-kv.ts'

describe('watched files', () => {
  it('are read by others where the files are', () => {
    const files = new MemoryFiles({}, { host: 'h' })
    expect(watchedFiles(files, () => {}).outside).to.equal(files.outside).and.not.equal(null)
  })

  it('tell after each change where it was, and of nothing else', async () => {
    const told: string[] = []
    const take = (): string[] => told.splice(0)
    const files = watchedFiles(new MemoryFiles(), (directory) => { told.push(directory) })
    for (const directory of ['/a', '/b']) await files.makeDirectory(directory)
    const file = await files.open('/a/1', true)
    expect(take()).to.deep.equal(['/a'])
    await file.write([Buffer.from('xyz')], 0)
    expect(take()).to.deep.equal(['/a'])
    await file.truncate(1)
    expect(take()).to.deep.equal(['/a'])
    await files.rename('/a/1', '/b/1')
    expect(take()).to.deep.equal(['/a', '/b'])
    await file.write([Buffer.from('y')], 1)
    expect(take(), 'a file that was moved while it was open').to.deep.equal(['/b'])
    const bytes = Buffer.alloc(2)
    expect([await file.read(bytes, 0), await file.size(), bytes.toString()]).to.deep.equal([2, 2, 'xy'])
    await file.datasync()
    await file.close()
    await (await files.open('/b/1', false)).close()
    expect(take()).to.deep.equal([])
    await files.unlink('/b/1')
    await files.removeTree('/b')
    expect(take()).to.deep.equal(['/b', '/b'])
  })

  it('tell also of a change that failed: a part of it may have been made', async () => {
    const told: string[] = []
    const files = watchedFiles(new MemoryFiles(), (directory) => { told.push(directory) })
    expect(await files.unlink('/a/1').catch(({ code }) => code)).to.equal('ENOENT')
    expect(told).to.deep.equal(['/a'])
  })

  it('and stores tell of each batch', async () => {
    let changes = 0
    const kv = watchedKv(new MemoryKv(), () => { changes++ })
    await kv.batch([{ type: 'put', key: Buffer.from('k'), value: Buffer.from('v') }])
    expect([changes, Buffer.from(kv.get(Buffer.from('k'))!).toString()]).to.deep.equal([1, 'v'])
  })
})
