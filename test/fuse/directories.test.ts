import { expect } from 'chai'
import * as fuse from '../../fuse/protocol/constants.ts'
import { entriesPerPage } from '../../fuse/filesystem/directory-stream.ts'
import { root, start } from './dispatching.ts'
import { FakeKernel, listedEntries, u32 } from './fake-kernel.ts'

describe('fuse dispatcher: directories', () => {
  const manyNames = (count: number): string[] => Array.from({ length: count }, (_, index) => `name-${String(index).padStart(5, '0')}`)

  async function listAll (kernel: FakeKernel, ino: number, fh: number, plus: boolean, size = 4096, from = 0): Promise<string[]> {
    const names: string[] = []
    for (let offset = from; ;) {
      const { errno, payload } = await kernel.read(ino, fh, offset, size, plus ? fuse.FUSE_READDIRPLUS : fuse.FUSE_READDIR)
      expect(errno).to.equal(0)
      expect(payload.length).to.be.at.most(size)
      const entries = listedEntries(payload, plus)
      if (entries.length === 0) return names
      names.push(...entries.map(({ name }) => name))
      offset = entries.at(-1)!.cookie
    }
  }

  it('every name comes once, over pages of the client and replies of any size, with dot and dot-dot', async () => {
    const { kernel, volume } = await start()
    const dir = (await volume.mkdir(1, 'dir', 0o755, root)).ino
    const names = manyNames(entriesPerPage * 3 + 17)
    for (const name of names) await volume.mknod(dir, name, 0o100644, 0, root)
    const fh = Number((await kernel.ask({ opcode: fuse.FUSE_OPENDIR, nodeid: dir }, u32(0, 0))).payload.readBigUInt64LE(0))
    for (const [plus, size] of [[true, 32768], [false, 512], [true, 1 << 20]] as const) {
      expect(await listAll(kernel, dir, fh, plus, size)).to.deep.equal(['.', '..', ...names])
    }
    const first = listedEntries((await kernel.read(dir, fh, 0, 4096, fuse.FUSE_READDIR)).payload, false)
    expect(first.slice(0, 2).map(({ name, ino, type }) => [name, ino, type])).to.deep.equal([['.', dir, 4], ['..', 1, 4]])
  })

  it('seeking back works, and a handle of an earlier worker goes on where it was', async () => {
    const { kernel, volume } = await start()
    const names = manyNames(entriesPerPage * 5)
    for (const name of names) await volume.mknod(1, name, 0o100644, 0, root)
    expect(await listAll(kernel, 1, 50, false, 65536)).to.have.length(names.length + 2)
    expect((await listAll(kernel, 1, 50, false, 65536, 2 + 100)).length).to.equal(names.length - 100)
    const successor = new FakeKernel(volume, { generation: 1, negotiated: { minor: 45, flags: '0', maxReadahead: 0 } })
    expect(await listAll(successor, 1, 50, false, 65536, 2 + 3000)).to.deep.equal(names.slice(3000))
  })

  it('names that are removed while the directory is read make no other name be missed', async () => {
    const { kernel, volume } = await start()
    const names = manyNames(entriesPerPage * 2)
    for (const name of names) await volume.mknod(1, name, 0o100644, 0, root)
    const seen: string[] = []
    for (let offset = 0; ;) {
      const entries = listedEntries((await kernel.read(1, 60, offset, 4096, fuse.FUSE_READDIR)).payload, false)
      if (entries.length === 0) break
      // As rm -r does, and the kernel steps back by an entry that found no room with its caller.
      for (const { name } of entries.slice(0, -1)) if (name.startsWith('name')) await volume.unlink(1, name, root)
      seen.push(...entries.slice(0, -1).map(({ name }) => name))
      if (entries.length === 1) { seen.push(entries[0]!.name); break }
      offset = entries.at(-2)!.cookie
    }
    expect(seen).to.deep.equal(['.', '..', ...names])
  })

  it('READDIRPLUS brings attributes where the client has them, and leaves the rest to be looked up', async () => {
    const { kernel, volume } = await start()
    await volume.mkdir(1, 'dir', 0o755, root)
    const { ino } = await volume.mknod(1, 'file', 0o100644, 0, root)
    const entries = listedEntries((await kernel.read(1, 70, 0, 4096, fuse.FUSE_READDIRPLUS)).payload, true)
    expect(entries.map(({ name, nodeid, type }) => [name, nodeid, type])).to.deep.equal([['.', 0, 4], ['..', 0, 4], ['dir', 0, 4], ['file', ino, 8]])
  })
})
