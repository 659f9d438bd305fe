import { expect } from 'chai'
import { checkVolume, type CheckResult } from '../../cli/fsck/check.ts'
import type { OpenFile } from '../../client/types.ts'
import { posixError } from '../../fsnode/protocol/errors.ts'
import { systemClock } from '../../fsnode/protocol/system.ts'
import { MemoryVolume } from '../fuse/memory-volume.ts'

const me = { uid: 0, gid: 0 }
const megabyte = 1024 * 1024

/** A volume that can be broken from outside. */
class BreakableVolume extends MemoryVolume {
  /** What a read of an inode fails with, or where it ends. */
  readonly broken = new Map<number, Error | number>()
  /** Called before each listing. */
  onList: () => void = () => {}

  override async readdir (...args: Parameters<MemoryVolume['readdir']>): ReturnType<MemoryVolume['readdir']> {
    this.onList()
    const page = await super.readdir(args[0], args[1], args[2])
    return { ...page, entries: page.entries.map(({ name, ino, type }) => ({ name, ino, type })) }
  }

  override async open (ino: number, options: { write: boolean }): Promise<OpenFile> {
    const file = await super.open(ino, options)
    const read = file.read.bind(file)
    file.read = async (offset, length) => {
      const fault = this.broken.get(ino)
      if (fault instanceof Error) throw fault
      return fault === undefined ? read(offset, length) : read(offset, Math.max(0, Math.min(length, fault - offset)))
    }
    return file
  }
}

interface Built { volume: BreakableVolume, dir: number, below: number, file: number, link: number }

async function build (): Promise<Built> {
  const volume = new BreakableVolume({ clock: systemClock })
  const dir = (await volume.mkdir(volume.root, 'dir', 0o755, me)).ino
  const below = (await volume.mkdir(dir, 'below', 0o755, me)).ino
  const { file, attr: { ino } } = await volume.create(below, 'file', { mode: 0o644, exclusive: true }, me)
  await file.write(0, [Buffer.alloc(5 * megabyte, 'x')])
  await volume.link(ino, dir, 'second', me)
  const link = (await volume.symlink(dir, 'link', 'below/file', me)).ino
  await volume.mknod(volume.root, 'pipe', 0o010644, 0, me)
  return { volume, dir, below, file: ino, link }
}

const check = (volume: MemoryVolume, readData = false): Promise<CheckResult> => checkVolume(volume, { readData, onProgress: () => {} })

async function findings ({ volume }: Built, readData = false): Promise<string[]> {
  return (await check(volume, readData)).findings.map(({ code, path, ino }) => `${code} ${path} ${ino}`)
}

describe('fsck', () => {
  it('finds nothing in a volume that is well, and counts what is in it', async () => {
    const { volume } = await build()
    expect(await check(volume)).to.deep.equal({ directories: 3, files: 1, others: 2, bytes: 5 * megabyte, bytesRead: 0, findings: [] })
    expect(await check(volume, true)).to.deep.include({ bytesRead: 5 * megabyte, findings: [] })
  })

  it('walks directories of more names than one page holds', async () => {
    const { volume, below } = await build()
    for (let index = 0; index < 2500; index++) await volume.mknod(below, `file ${index}`, 0o100644, 0, me)
    expect(await check(volume)).to.deep.include({ files: 2501, findings: [] })
  })

  const faults: Array<[string, (built: Built) => void, (built: Built) => string[]]> = [
    ['a name without an inode', ({ volume, dir }) => {
      const readdir = volume.readdir.bind(volume)
      volume.readdir = async (ino, after, limit) => {
        const page = await readdir(ino, after, limit)
        return ino === dir ? { ...page, entries: [...page.entries, { name: 'without', ino: 999, type: 0o100000 }] } : page
      }
    }, () => ['NO_INODE /dir/without 999']],
    ['an inode of another type than its name says', ({ volume, file }) => {
      const readdir = volume.readdir.bind(volume)
      volume.readdir = async (ino, after, limit) => {
        const page = await readdir(ino, after, limit)
        return { ...page, entries: page.entries.map((entry) => entry.ino === file ? { ...entry, type: 0o120000 } : entry) }
      }
    }, ({ file }) => [`WRONG_TYPE /dir/below/file ${file}`, `WRONG_TYPE /dir/second ${file}`]],
    ['too many links of a file', ({ volume, file }) => { volume.inodes.get(file)!.attr.nlink = 3 }, ({ file }) => [`LINK_COUNT /dir/second ${file}`]],
    ['too few links of a file', ({ volume, file }) => { volume.inodes.get(file)!.attr.nlink = 1 }, ({ file }) => [`LINK_COUNT /dir/second ${file}`]],
    ['wrong links of a directory', ({ volume, dir }) => { volume.inodes.get(dir)!.attr.nlink = 2 }, ({ dir }) => [`LINK_COUNT /dir ${dir}`]],
    ['a directory that says it is elsewhere', ({ volume, below }) => { volume.inodes.get(below)!.parent = volume.root }, ({ below }) => [`WRONG_PARENT /dir/below ${below}`]],
    ['a directory with two names, a circle even', ({ volume, dir, below }) => {
      volume.inodes.get(below)!.names.set('circle', dir)
      volume.inodes.get(below)!.attr.nlink++
    }, ({ dir }) => [`SECOND_NAME /dir/below/circle ${dir}`]],
    ['a size that cannot be', ({ volume, file }) => { volume.inodes.get(file)!.attr.size = -1 }, ({ file }) => [`SIZE /dir/second ${file}`]],
    ['a symbolic link of another length than its target', ({ volume, link }) => { volume.inodes.get(link)!.attr.size = 3 }, ({ link }) => [`SIZE /dir/link ${link}`]]
  ]
  for (const [what, damage, expected] of faults) {
    it(`finds ${what}`, async () => {
      const built = await build()
      damage(built)
      expect((await findings(built)).sort()).to.deep.equal(expected(built).sort())
    })
  }

  it('with the data read, finds bytes that cannot be read and those that are missing', async () => {
    const built = await build()
    built.volume.broken.set(built.file, posixError('EIO', 'bad block'))
    expect(await findings(built)).to.deep.equal([])
    expect(await findings(built, true)).to.deep.equal([`DATA /dir/second ${built.file}`])
    built.volume.broken.set(built.file, megabyte)
    expect(await findings(built, true)).to.deep.equal([`DATA /dir/second ${built.file}`])
  })

  it('does not tell what somebody changed while it was walked', async () => {
    const { volume, file } = await build()
    let listings = 0
    volume.onList = () => {
      // In a directory that was listed already there is one more name now.
      if (++listings === 2) void volume.link(file, volume.root, 'new', me)
    }
    expect(await check(volume)).to.deep.include({ findings: [], files: 1 })
    expect(listings, 'it was walked twice').to.equal(6)
  })
})
