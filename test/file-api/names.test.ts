import { same, type Side } from './twin.ts'

type At = (path: string) => string
type Call = (fs: Side['fs'], path: string, at: At) => Promise<unknown>

/** One of each kind, and links to them in all the ways a path can end. */
async function populate (fs: Side['fs'], at: At): Promise<void> {
  await fs.mkdir(at('/dir'))
  await fs.writeFile(at('/dir/below'), 'below')
  await fs.mkdir(at('/empty'))
  await fs.writeFile(at('/file'), 'content')
  const links = {
    'to-dir': 'dir', 'to-file': 'file', 'to-nothing': 'nowhere', 'to-to-dir': 'to-dir', loop: 'loop', absolute: at('/dir'),
    'to-dir-slash': 'dir/', 'to-file-slash': 'file/', 'to-nothing-slash': 'nowhere/', 'dir/here': '.', 'dir/up': '..'
  }
  for (const [path, target] of Object.entries(links)) await fs.symlink(target, at(`/${path}`))
}

const names = ['dir', 'empty', 'file', 'to-dir', 'to-file', 'to-nothing', 'to-to-dir', 'loop', 'absolute', 'to-dir-slash', 'to-file-slash', 'to-nothing-slash', 'none']
const suffixes = ['', '/', '//', '/.', '/..', '/below', '/below/', '/below/x', '/none', '/none/', '/none/x', '/here', '/here/', '/here/here/below', '/up/file', '/../file', '/./below', '/up/up']
const paths = names.flatMap((name) => suffixes.map((suffix) => `/${name}${suffix}`))
const toChange = names.filter((name) => name !== 'to-to-dir').flatMap((name) => ['', '/', '/.', '/..', '/below', '/none', '/none/'].map((suffix) => `/${name}${suffix}`))
/** Removing the others would remove what the test itself stands on. */
const withoutDots = toChange.filter((path) => !path.endsWith('.'))

/** A call that changes nothing, at every path. */
function reads (title: string, call: Call): void {
  same(title, async (side) => {
    const at: At = (path) => side.at(path)
    await populate(side.fs, at)
    for (const path of paths) {
      side.note(path)
      await side.try(() => call(side.fs, at(path), at))
    }
  })
}

/** A call that changes the tree, each time on a new one, and what it leaves. */
function changes (title: string, call: Call, where = toChange): void {
  same(title, async (side) => {
    for (const [index, path] of where.entries()) {
      const at: At = (below) => side.at(`/top/${index}${below}`)
      await side.fs.mkdir(at(''), { recursive: true })
      await populate(side.fs, at)
      side.note(path)
      const failed = await side.try(() => call(side.fs, at(path), at).then(() => false)) ?? true
      if (!failed) await side.noteTree(`/top/${index}`)
    }
    const left = await side.fs.readdir(side.at('/top'), { withFileTypes: true, recursive: true })
    side.note(left.map(({ parentPath, name }) => `${parentPath}/${name}`).sort())
  })
}

describe('file-api: names behave as in node:fs/promises', () => {
  reads('stat', (fs, path) => fs.stat(path))
  reads('lstat', (fs, path) => fs.lstat(path))
  reads('access', (fs, path) => fs.access(path))
  reads('access to execute', (fs, path) => fs.access(path, fs.constants.X_OK))
  reads('realpath', (fs, path) => fs.realpath(path))
  reads('readlink', (fs, path) => fs.readlink(path))
  reads('readFile', (fs, path) => fs.readFile(path, 'utf8'))
  reads('readdir', async (fs, path) => fs.readdir(path))
  reads('opendir', async (fs, path) => (await fs.opendir(path)).close())
  reads('utimes of a time that is none', async (fs, path) => fs.utimes(path, NaN, 1))

  changes('mkdir', (fs, path) => fs.mkdir(path))
  changes('mkdir with its parents', (fs, path) => fs.mkdir(path, { recursive: true }))
  changes('mkdir with parents that are missing', (fs, path) => fs.mkdir(`${path}/one//two/./three/`, { recursive: true }))
  changes('writeFile', (fs, path) => fs.writeFile(path, 'new'))
  changes('writeFile of a new file', (fs, path) => fs.writeFile(path, 'new', { flag: 'wx' }))
  changes('unlink', (fs, path) => fs.unlink(path))
  changes('rmdir', (fs, path) => fs.rmdir(path))
  changes('rm', (fs, path) => fs.rm(path), withoutDots)
  changes('rm with force', (fs, path) => fs.rm(path, { force: true }), withoutDots)
  changes('rm of trees', (fs, path) => fs.rm(path, { recursive: true }), withoutDots.filter((path) => !/^\/(to|absolute).*\/$/.test(path)))
  changes('symlink', (fs, path) => fs.symlink('some/target', path))
  changes('link to a name', (fs, path, at) => fs.link(at('/file'), path))
  changes('link of what a name stands for', (fs, path, at) => fs.link(path, at('/linked')))
  changes('rename of a file to a name', (fs, path, at) => fs.rename(at('/file'), path))
  changes('rename of a directory to a name', (fs, path, at) => fs.rename(at('/dir'), path))
  changes('rename of a link to a name', (fs, path, at) => fs.rename(at('/to-dir'), path))
  changes('rename of what a name stands for', (fs, path, at) => fs.rename(path, at('/renamed')))
  changes('rename with a slash behind the new name', (fs, path, at) => fs.rename(path, at('/renamed/')))
  changes('rename over an empty directory', (fs, path, at) => fs.rename(path, at('/empty')))
  changes('truncate', (fs, path) => fs.truncate(path, 3))
  changes('chmod', (fs, path) => fs.chmod(path, 0o750), withoutDots)
  changes('copyFile to a name', (fs, path, at) => fs.copyFile(at('/file'), path))
  changes('copyFile of what a name stands for', (fs, path, at) => fs.copyFile(path, at('/copied')))

  same('a rename onto an own ancestor, and of a directory into itself, are refused', async (side) => {
    await side.fs.mkdir(side.at('/a/b/c'), { recursive: true })
    await side.fs.writeFile(side.at('/a/b/f'), '')
    for (const [from, to] of [['/a/b/f', '/a/b'], ['/a/b/f', '/a'], ['/a/b/c', '/a'], ['/a', '/a/b/c/d'], ['/a', '/a'], ['/a/b', '/a/b/c'], ['/a/b/f', '/a/b/f']]) {
      await side.try(side.fs.rename(side.at(from!), side.at(to!)))
    }
    await side.noteTree()
  })

  same('a rename between two names of one file leaves both', async (side) => {
    await side.fs.writeFile(side.at('/one'), 'same')
    await side.fs.link(side.at('/one'), side.at('/two'))
    await side.try(side.fs.rename(side.at('/one'), side.at('/two')))
    await side.noteTree()
  })

  same('forty links may be followed, and no more', async (side) => {
    await side.fs.writeFile(side.at('/0'), 'end')
    for (let index = 1; index <= 42; index++) await side.fs.symlink(`${index - 1}`, side.at(`/${index}`))
    for (const index of [39, 40, 41, 42]) await side.try(side.fs.readFile(side.at(`/${index}`), 'utf8'))
    await side.fs.mkdir(side.at('/dir'))
    for (let index = 0; index < 8; index++) await side.fs.symlink(`.${'/again'.repeat(index === 0 ? 0 : 2)}`, side.at(`/dir/again${index}`))
    await side.fs.symlink('.', side.at('/dir/again'))
    for (const length of [39, 40, 41]) await side.try(side.fs.stat(side.at(`/dir${'/again'.repeat(length)}`)))
  })

  same('long names and paths', async (side) => {
    for (const length of [254, 255, 256]) await side.try(side.fs.writeFile(side.at(`/${'n'.repeat(length)}`), ''))
    for (const name of ['\u00e9'.repeat(127), '\u00e9'.repeat(128), '\u{1F600}'.repeat(64)]) await side.try(side.fs.mkdir(side.at(`/${name}`)))
    await side.try(side.fs.stat(side.at(`/${'n'.repeat(300)}/x`)))
    await side.try(side.fs.stat(side.at(`/${'./'.repeat(2100)}`)))
    await side.try(side.fs.symlink('t'.repeat(4095), side.at('/longest')))
    await side.try(side.fs.symlink('t'.repeat(4096), side.at('/too-long')))
    await side.noteTree()
  })

  same('paths of all kinds: URL, Buffer, with dots and repeated slashes, empty, with null bytes, and what is no path', async (side) => {
    const { fs } = side
    await side.try(fs.writeFile(new URL(`file://${side.at('/a%20b')}`), 'by URL'))
    await side.try(fs.writeFile(Buffer.from(side.at('/\u00e4')), 'by Buffer'))
    await side.try(fs.readFile(side.at('//.///a b'), 'utf8'))
    await side.try(fs.writeFile(side.at('/lone \ud800 surrogate'), ''))
    await side.try(fs.symlink(Buffer.from('\u00e4'), side.at('/link')))
    await side.noteTree()
    for (const path of ['', '\0', `${side.at('/x')}\0`, Buffer.from('a\0b'), 7, null, undefined, {}, new URL('http://localhost/x'), []] as any[]) {
      await side.try(() => fs.stat(path))
      await side.try(() => fs.readFile(path))
      await side.try(() => fs.rename(path, side.at('/y')))
      await side.try(() => fs.rename(side.at('/\u00e4'), path))
      await side.try(() => fs.symlink(path, side.at('/another')))
      await side.try(() => fs.readdir(path))
      await side.try(() => fs.mkdir(path, { recursive: true }))
    }
  })

  same('mkdir: modes, options that are none', async (side) => {
    for (const [index, options] of ([0o700, '750', { mode: 0o711 }, { mode: '0711', recursive: true }, 0o1777, null, undefined, '9', 'x', -1, 1.5, { recursive: 1 }, { mode: {} }] as any[]).entries()) {
      await side.try(() => side.fs.mkdir(side.at(`/${index}`), options))
    }
    await side.noteTree()
  })

  same('mkdir with parents through a file, a dangling link, a link to a directory', async (side) => {
    await side.fs.writeFile(side.at('/file'), '')
    await side.fs.symlink('nowhere', side.at('/dangling'))
    await side.fs.mkdir(side.at('/dir'))
    await side.fs.symlink('dir', side.at('/to-dir'))
    for (const path of ['/file/a/b/c', '/dangling/a/b', '/dangling', '/to-dir/a/b', '/to-dir', '/x/../y/z', '/x/./', '/']) {
      await side.try(side.fs.mkdir(side.at(path), { recursive: true }))
    }
    await side.noteTree()
  })

  same('mkdtemp and mkdtempDisposable make a directory for this user alone', async (side) => {
    const { fs } = side
    const path = await fs.mkdtemp(side.at('/tmp-'))
    side.note([/^\/tmp-[A-Za-z0-9]{6}$/.test(path.slice(side.at('').length)), await fs.stat(path)])
    side.note((await fs.mkdtemp(side.at('/tmp-'), 'buffer')).length - side.at('').length)
    await fs.mkdtemp(side.at('/none/tmp-')).catch(({ code, syscall, path }) => { side.note([code, syscall, path.slice(0, -6)]) })
    const temporary = await fs.mkdtempDisposable(side.at('/gone-'))
    await fs.writeFile(`${temporary.path}/file`, '')
    await temporary.remove()
    await side.try(temporary.remove())
    side.note((await fs.readdir(side.at('/'))).map((name) => name.slice(0, 4)))
  })

  same('rm: trees, with links in them that are not followed, and options that are none', async (side) => {
    const { fs } = side
    await fs.mkdir(side.at('/tree/a/b/c'), { recursive: true })
    await fs.mkdir(side.at('/kept'))
    await fs.writeFile(side.at('/kept/file'), 'kept')
    await fs.symlink('../kept', side.at('/tree/link'))
    for (let index = 0; index < 40; index++) await fs.writeFile(side.at(`/tree/a/b/${index}`), '')
    for (const options of [{ recursive: 1 }, { force: 'yes' }, {}, { force: true }, { recursive: true }, { recursive: true }, { recursive: true, force: true }] as any[]) {
      await side.try(() => fs.rm(side.at('/tree'), options))
    }
    await side.noteTree()
  })

  same('symlink and readlink keep the target as it is, and read it in the encoding asked for', async (side) => {
    for (const [index, target] of ['', '/', '//x/../y/', '.', ' ', '\u00e4/\u{1F600}'].entries()) {
      await side.try(side.fs.symlink(target, side.at(`/${index}`)))
      for (const encoding of [undefined, null, 'utf8', 'buffer', 'hex', { encoding: 'base64' }, 'none'] as any[]) await side.try(() => side.fs.readlink(side.at(`/${index}`), encoding))
    }
    for (const type of ['dir', 'file', 'junction', null, 'nothing'] as any[]) await side.try(() => side.fs.symlink('x', side.at(`/${type}`), type))
    side.note(Buffer.from(await side.fs.realpath(side.at('/3'), 'hex'), 'hex').toString())
  })
})
