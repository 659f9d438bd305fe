import { same, type Side } from './twin.ts'

async function populate ({ fs, at }: { fs: Side['fs'], at: (path: string) => string }): Promise<void> {
  await fs.mkdir(at('/from/sub/deep'), { recursive: true })
  await fs.writeFile(at('/from/file'), 'file', { mode: 0o640 })
  await fs.writeFile(at('/from/sub/inner'), 'inner', { mode: 0o755 })
  await fs.utimes(at('/from/file'), 1000, 2000)
  await fs.chmod(at('/from/sub/deep'), 0o710)
  await fs.symlink('file', at('/from/relative'))
  await fs.symlink(at('/from/sub'), at('/from/absolute'))
  await fs.symlink('nowhere', at('/from/dangling'))
  await fs.mkdir(at('/there'))
  await fs.writeFile(at('/there/file'), 'older')
  await fs.writeFile(at('/there/kept'), 'kept')
  await fs.symlink('kept', at('/there/relative'))
  await fs.symlink('from', at('/to-from'))
  await fs.link(at('/from/file'), at('/same'))
}

const options = [
  undefined, {}, { recursive: true }, { recursive: true, force: false }, { recursive: true, force: false, errorOnExist: true }, { recursive: true, errorOnExist: true }, { recursive: true, dereference: true },
  { recursive: true, verbatimSymlinks: true }, { recursive: true, preserveTimestamps: true }, { recursive: true, mode: 1 }, { recursive: true, filter: (from: string) => !from.endsWith('sub') }, { recursive: true, filter: async () => false }
] as any[]
const routes = [
  ['/from', '/new'], ['/from', '/new/below'], ['/from', '/there'], ['/from/', '/new/'], ['/from', '/from'], ['/from', '/from/sub/x'], ['/from', '/to-from/x'], ['/to-from', '/new'], ['/from/file', '/new'], ['/from/file', '/there/file'],
  ['/from/file', '/there'], ['/from', '/there/file'], ['/from/file', '/same'], ['/from/relative', '/new'], ['/from/relative', '/there/relative'], ['/from/relative', '/there/file'], ['/from/dangling', '/new'], ['/from/absolute', '/new'], ['/none', '/new'],
  ['/from/file', '/there/file/x'], ['/from/file/x', '/new']
]

describe('file-api: cp behaves as in node:fs/promises', () => {
  for (const given of options) {
    same(`every route with ${Object.keys(given ?? {}).length === 0 ? (given === undefined ? 'no options' : 'empty options') : Object.entries<unknown>(given).map(([name, value]) => `${name} ${typeof value === 'function' ? 'set' : value}`).join(', ')}`, async (side) => {
      for (const [index, [from, to]] of routes.entries()) {
        const at = (path: string): string => side.at(`/${index}${path}`)
        await side.fs.mkdir(at(''))
        await populate({ fs: side.fs, at })
        side.note([from, to])
        const failed = await side.try(() => side.fs.cp(at(from!), at(to!), given).then(() => false)) ?? true
        // How far a copy got before it failed follows the order of the directory, which is not told.
        if (failed) continue
        await side.noteTree(`/${index}`)
        if (given?.preserveTimestamps === true && from === '/from') {
          side.note((await side.fs.stat(at(`${to}/file`))).mtimeMs)
        }
      }
    })
  }

  same('arguments that are none', async (side) => {
    await side.fs.writeFile(side.at('/file'), '')
    for (const given of [null, 7, { recursive: 1 }, { force: 'x' }, { mode: 9 }, { mode: 'x' }, { filter: 7 }, { dereference: true, verbatimSymlinks: true }] as any[]) await side.try(() => side.fs.cp(side.at('/file'), side.at('/x'), given))
    for (const path of [null, 7, '\0'] as any[]) {
      await side.try(() => side.fs.cp(path, side.at('/x')))
      await side.try(() => side.fs.cp(side.at('/file'), path))
    }
  })
})
