import { expect } from 'chai'
import { MemoryVolume } from '../fuse/memory-volume.ts'
import { systemClock } from '../../fsnode/protocol/system.ts'
import { directoryPageEntries } from '../../client/file-api/listing.ts'
import { memoryVolume, same, type Side } from './twin.ts'

async function populate ({ fs, at }: { fs: Side['fs'], at: (path: string) => string }): Promise<void> {
  await fs.mkdir(at('/a/b/c'), { recursive: true })
  await fs.mkdir(at('/a/empty'))
  await fs.mkdir(at('/z'))
  for (const path of ['/B', '/a/one', '/a/b/two', '/a/b/c/three', '/z/last', '/\u00e4', '/~']) await fs.writeFile(at(path), '')
  await fs.symlink('a', at('/to-a'))
  await fs.symlink('../B', at('/z/to-file'))
  await fs.symlink('nowhere', at('/z/dangling'))
}

describe('file-api: listings behave as in node:fs/promises', () => {
  same('readdir: names in order, with types, recursively, in the encodings asked for', async (side) => {
    await populate({ fs: side.fs, at: (path) => side.at(path) })
    const options = [
      undefined, null, {}, 'utf8', 'buffer', 'hex', 'none', 7, { encoding: 'buffer' }, { encoding: 'base64' }, { withFileTypes: true }, { withFileTypes: true, encoding: 'buffer' }, { recursive: true },
      { recursive: true, withFileTypes: true }, { recursive: false, withFileTypes: false }
    ] as any[]
    for (const given of options) {
      for (const path of ['/', '/a', '/a/', '/a/../a/./b', '/to-a', '/a/empty', '/B', '/none', '/z/to-file', '/z/dangling']) await side.try(() => side.fs.readdir(side.at(path), given))
    }
  })

  same('a recursive listing without types follows links to directories, until there are too many', async (side) => {
    await side.fs.mkdir(side.at('/dir'))
    await side.fs.writeFile(side.at('/dir/file'), '')
    await side.fs.symlink('.', side.at('/dir/self'))
    await side.try(side.fs.readdir(side.at('/'), { recursive: true }))
    await side.try(side.fs.readdir(side.at('/'), { recursive: true, withFileTypes: true }))
  })

  same('opendir: by iteration, by reads, recursively; the end closes it', async (side) => {
    await populate({ fs: side.fs, at: (path) => side.at(path) })
    const sorted = (entries: any[]): any[] => entries.sort((one, other) => `${one.parentPath}/${one.name}` < `${other.parentPath}/${other.name}` ? -1 : 1)
    for (const path of ['/', '/a', '/a/', '/to-a', '/a/empty']) {
      for (const options of [undefined, {}, { recursive: true }, { encoding: 'buffer' }, { bufferSize: 1 }, { recursive: true, bufferSize: 2 }] as any[]) {
        const dir = await side.fs.opendir(side.at(path), options)
        side.note(dir.path)
        const entries = []
        for await (const entry of dir) entries.push(entry)
        side.note(sorted(entries))
        await side.try(dir.read())
        await side.try(dir.close())
        await dir[Symbol.asyncDispose]()
      }
    }
    const dir = await side.fs.opendir(side.at('/a/b'))
    side.note(sorted([await dir.read(), await dir.read()]))
    await side.try(dir.read())
    await side.try(dir.read())
    await side.try(dir.close())
    await side.try(dir.read())
    const left = await side.fs.opendir(side.at('/a'))
    for await (const entry of left) if (entry !== null) break
    await side.try(left.close())
    {
      await using disposed = await side.fs.opendir(side.at('/a'))
      side.note(disposed)
    }
    for (const path of ['/B', '/none', '/z/to-file']) await side.try(side.fs.opendir(side.at(path)))
    for (const options of [{ encoding: 'none' }, 7] as any[]) await side.try(() => side.fs.opendir(side.at('/a'), options))
  })

  it('directories of many pages are listed and removed completely', async () => {
    const volume = new MemoryVolume({ clock: systemClock })
    const fs = memoryVolume(volume)
    const names = Array.from({ length: 2 * directoryPageEntries + 500 }, (_, index) => `f${String(index).padStart(5, '0')}`)
    await fs.mkdir('/many/below', { recursive: true })
    for (const name of names) await fs.writeFile(`/many/${name}`, '')
    expect(await fs.readdir('/many')).to.deep.equal(['below', ...names])
    let seen = 0
    for await (const { name } of await fs.opendir('/many')) {
      if (name !== 'below') await fs.unlink(`/many/${name}`)
      seen++
    }
    expect([seen, await fs.readdir('/many')]).to.deep.equal([names.length + 1, ['below']])
  })
})
