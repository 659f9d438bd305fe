import { same, type Side } from './twin.ts'

const times = [0, 1, 1.5, 1234567890.123456789, 1e9 + 1 / 3, 1e-9, '12', '12.75', '-2.5', new Date(1234567890123), new Date(-1500), new Date(0), 253402300799] as any[]
const notTimes = [NaN, Infinity, -Infinity, 'x', '', 'x1', null, undefined, {}, [], 5n, true] as any[]

async function noteTimes (side: Side, path: string): Promise<void> {
  const { atimeMs, mtimeMs, atime, mtime } = await side.fs.lstat(path)
  const { atimeNs, mtimeNs, atimeMs: atimeBig } = await side.fs.lstat(path, { bigint: true })
  side.note([atimeMs, mtimeMs, atime, mtime, atimeNs, mtimeNs, atimeBig])
}

describe('file-api: attributes behave as in node:fs/promises', () => {
  same('utimes, lutimes and those of a handle keep nanoseconds', async (side) => {
    const { fs } = side
    const [file, link] = [side.at('/file'), side.at('/link')]
    await fs.writeFile(file, 'x')
    await fs.symlink('file', link)
    await using handle = await fs.open(file)
    for (const time of times) {
      side.note(String(time))
      await side.try(() => fs.utimes(file, time, 7))
      await noteTimes(side, file)
      await side.try(() => fs.utimes(link, 8, time))
      await noteTimes(side, file)
      await side.try(() => fs.lutimes(link, time, time))
      await noteTimes(side, link)
      await side.try(() => handle.utimes(time, time))
      await noteTimes(side, file)
    }
    for (const time of notTimes) {
      side.note(String(time))
      await side.try(() => fs.utimes(file, 1, time))
      await side.try(() => fs.lutimes(link, time, 1))
      await side.try(() => handle.utimes(time, time))
    }
    for (const path of ['/none', '/file/', '/file/x']) await side.try(fs.utimes(side.at(path), 1, 1))
    for (const path of ['/none', '/file/', '/file/x']) await side.try(fs.lutimes(side.at(path), 1, 1))
  })

  same('a negative time in seconds means now', async (side) => {
    await side.fs.writeFile(side.at('/file'), '')
    await side.fs.utimes(side.at('/file'), -5, -5)
    const { mtimeMs } = await side.fs.stat(side.at('/file'))
    side.note(Math.abs(Date.now() - mtimeMs) < 60_000)
  })

  same('what changes a file or directory sets its times', async (side) => {
    const { fs } = side
    const [dir, file] = [side.at('/dir'), side.at('/dir/file')]
    await fs.mkdir(dir)
    const changes: Array<[string, () => Promise<unknown>]> = [
      ['writeFile', () => fs.writeFile(file, 'x')], ['appendFile', () => fs.appendFile(file, 'x')], ['truncate', () => fs.truncate(file, 0)], ['readFile', () => fs.readFile(file)], ['chmod', () => fs.chmod(file, 0o600)],
      ['link', () => fs.link(file, side.at('/dir/linked'))], ['rename', () => fs.rename(side.at('/dir/linked'), side.at('/dir/renamed'))], ['unlink', () => fs.unlink(side.at('/dir/renamed'))],
      ['mkdir', () => fs.mkdir(side.at('/dir/sub'))], ['rmdir', () => fs.rmdir(side.at('/dir/sub'))], ['symlink', () => fs.symlink('x', side.at('/dir/symlink'))]
    ]
    for (const [name, change] of changes) {
      for (const path of [dir, file]) await fs.utimes(path, 1, 1).catch(() => {})
      await change()
      side.note([name, (await fs.stat(dir)).mtimeMs === 1000, (await fs.stat(file)).mtimeMs === 1000])
    }
  })

  same('chmod and that of a handle', async (side) => {
    const { fs } = side
    await fs.writeFile(side.at('/file'), '')
    await fs.symlink('file', side.at('/link'))
    await using handle = await fs.open(side.at('/file'))
    for (const mode of [0o600, 0o777, 0o1755, 0, '640', '0644', 0o100644, 'x', '9', '', -1, 1.5, null, undefined, {}, 2 ** 32] as any[]) {
      side.note(mode)
      await side.try(() => fs.chmod(side.at('/link'), mode))
      await side.noteTree()
      await side.try(() => handle.chmod(mode))
      await side.noteTree()
    }
    for (const path of ['/none', '/file/', '/file/x']) await side.try(fs.chmod(side.at(path), 0o600))
  })

  same('chown, lchown and that of a handle: to oneself, leaving one as it is, and what is no id', async (side) => {
    const { fs } = side
    const [uid, gid] = [process.getuid!(), process.getgid!()]
    await fs.writeFile(side.at('/file'), '')
    await fs.symlink('none', side.at('/link'))
    await using handle = await fs.open(side.at('/file'))
    const ids: any[][] = [[uid, gid], [-1, gid], [uid, -1], [-1, -1], [-2, 0], [0, 2 ** 32], [1.5, 0], ['0', 0], [0], [null, 0]]
    if (uid === 0) ids.push([12, 34], [2 ** 32 - 2, 5], [-1, 7], [6, -1])
    for (const [owner, group] of ids) {
      side.note([owner, group])
      await side.try(() => fs.chown(side.at('/file'), owner, group))
      await side.noteTree()
      await side.try(() => fs.chown(side.at('/link'), owner, group))
      await side.try(() => fs.lchown(side.at('/link'), owner, group))
      await side.noteTree()
      await side.try(() => handle.chown(owner, group))
    }
  })

  same('stat: fields and methods, in numbers and bigints, and of nothing', async (side) => {
    const { fs } = side
    await fs.writeFile(side.at('/file'), 'content')
    await fs.link(side.at('/file'), side.at('/linked'))
    await fs.symlink('to/some/where', side.at('/link'))
    await using handle = await fs.open(side.at('/file'))
    for (const options of [undefined, {}, { bigint: false }, { bigint: true }] as any[]) {
      for (const stats of [await fs.stat(side.at('/file'), options), await fs.lstat(side.at('/link'), options), await handle.stat(options)] as any[]) {
        side.note(Object.keys(stats))
        side.note([stats.size, stats.nlink, stats.mode, stats.uid, stats.gid, typeof stats.dev, typeof stats.ino, typeof stats.blocks, typeof stats.birthtimeMs, stats.mtime instanceof Date, stats.mtime.getTime() === Math.round(Number(stats.mtimeMs)), stats.constructor.name])
        side.note(stats)
      }
      const [one, other] = [await fs.stat(side.at('/file'), options), await fs.stat(side.at('/linked'), options)] as any[]
      side.note([one.ino === other.ino, one.dev === other.dev])
    }
    for (const path of ['/none', '/file/x', '/file']) {
      await side.try(fs.stat(side.at(path), { throwIfNoEntry: false }))
      await side.try(fs.stat(side.at(path), { throwIfNoEntry: true }))
      await side.try(fs.lstat(side.at(path), { throwIfNoEntry: false } as object))
    }
  })

  same('statfs: which fields there are', async (side) => {
    for (const options of [undefined, { bigint: false }, { bigint: true }] as any[]) {
      const told: any = await side.fs.statfs(side.at('/'), options)
      side.note(Object.entries(told).map(([name, value]) => [name, typeof value]))
    }
    await side.try(side.fs.statfs(side.at('/none')))
    await side.try(side.fs.statfs(side.at('/none/x')))
  })
})
