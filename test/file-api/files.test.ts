import { constants } from 'node:fs'
import { compare, same } from './twin.ts'

const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY, O_NOFOLLOW, O_SYNC, O_DSYNC } = constants

describe('file-api: open files behave as in node:fs/promises', () => {
  const flags = [
    'r', 'rs', 'sr', 'r+', 'rs+', 'sr+', 'w', 'wx', 'xw', 'w+', 'wx+', 'xw+', 'a', 'ax', 'xa', 'as', 'sa', 'a+', 'ax+', 'xa+', 'as+', 'sa+',
    O_RDONLY, O_WRONLY, O_RDWR, O_RDONLY | O_CREAT, O_RDONLY | O_TRUNC, O_WRONLY | O_EXCL, O_RDWR | O_CREAT | O_EXCL, O_WRONLY | O_APPEND, O_RDWR | O_CREAT | O_TRUNC | O_APPEND,
    O_RDONLY | O_DIRECTORY, O_RDWR | O_DIRECTORY, O_RDONLY | O_NOFOLLOW, O_WRONLY | O_NOFOLLOW | O_CREAT, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, O_WRONLY | O_SYNC, O_WRONLY | O_DSYNC,
    '', 'x', 'rw', 'wa', 'r++', 'sw', 'rx', 'ws', '+', 'R', null, undefined, 1.5, -1 + 2 ** 40, {}
  ] as any[]

  for (const place of ['/file', '/dir', '/link', '/to-dir', '/dangling', '/new', '/dir/', '/file/', '/new/', '/loop']) {
    same(`every open flag: ${place}`, async (side) => {
      const { fs } = side
      for (const flag of flags) {
        const at = (path: string): string => side.at(path)
        await fs.mkdir(at('/dir'))
        await fs.writeFile(at('/file'), '0123456789')
        for (const [name, target] of Object.entries({ link: 'file', 'to-dir': 'dir', dangling: 'new', loop: 'loop' })) await fs.symlink(target, at(`/${name}`))
        side.note(flag)
        const handle = await side.try(() => fs.open(at(place), flag))
        if (handle !== undefined) {
          await side.try(handle.read(Buffer.alloc(4)))
          await side.try(handle.write('ab'))
          await side.try(handle.write(Buffer.from('cd'), 0, 2, 1))
          await side.try(handle.read(Buffer.alloc(4), 0, 4, 0))
          await side.try(handle.read(Buffer.alloc(4)))
          await side.try(handle.readFile())
          await side.try(handle.stat())
          await side.try(handle.truncate(3))
          await side.try(handle.sync())
          await side.try(handle.datasync())
          await side.try(handle.chmod(0o600))
          await side.try(handle.utimes(1, 2))
          await side.try(handle.close())
        }
        await side.noteTree()
        for (const name of await fs.readdir(at('/'))) await fs.rm(at(`/${name}`), { recursive: true })
      }
    })
  }

  same('modes of new files, and of files that are there already', async (side) => {
    for (const [index, mode] of [0o600, 0o777, 0o1755, 0, '640', '0o640', '8', null, undefined, -1, 1.5, {}, 2 ** 32].entries() as any) {
      await side.try(() => side.fs.writeFile(side.at(`/w${index}`), 'x', { mode }))
      await side.try(async () => (await side.fs.open(side.at(`/o${index}`), 'w', mode)).close())
      await side.try(() => side.fs.writeFile(side.at('/there'), 'x', { mode: 0o600 + index }))
    }
    await side.noteTree()
  })

  same('reads: where they start, how long they are, where the next one goes on', async (side) => {
    await side.fs.writeFile(side.at('/file'), 'abcdefghijklmnopqrstuvwxyz')
    await using handle = await side.fs.open(side.at('/file'))
    const calls: any[][] = [
      [Buffer.alloc(5)], [Buffer.alloc(5), 2], [Buffer.alloc(5), 2, 2], [Buffer.alloc(5), 0, 5, 20], [Buffer.alloc(3)], [Buffer.alloc(5), 0, 5, 24], [Buffer.alloc(5), 0, 5, 26], [Buffer.alloc(5), 0, 5, 1000],
      [Buffer.alloc(5), null, null, null], [Buffer.alloc(5), undefined, undefined, -1], [Buffer.alloc(5), 0, 5, 3n], [Buffer.alloc(5), 0, 5, -1n], [Buffer.alloc(5), 0, 0], [Buffer.alloc(0)], [Buffer.alloc(0), 0, 1],
      [new Uint16Array(2)], [new DataView(new ArrayBuffer(6), 2, 3)], [Buffer.alloc(5), { offset: 1, length: 2 }], [Buffer.alloc(5), { position: 0 }], [Buffer.alloc(5), {}], [{ buffer: Buffer.alloc(3), position: 1 }],
      [{ buffer: Buffer.alloc(3), length: 1 }], [{ length: 5, position: 0 }], [], [undefined], [null],
      [Buffer.alloc(5), -1], [Buffer.alloc(5), 6], [Buffer.alloc(5), 0, 6], [Buffer.alloc(5), 0, -1], [Buffer.alloc(5), 1.5], [Buffer.alloc(5), 'x'], [Buffer.alloc(5), 0, 5, -2], [Buffer.alloc(5), 0, 5, 1.5],
      [Buffer.alloc(5), 0, 5, 'x'], [Buffer.alloc(5), 0, 5, -2n], [Buffer.alloc(5), 0, 5, 2n ** 63n], [Buffer.alloc(5), 0, 5, 2 ** 53], ['text'], [7], [{ buffer: 'x' }], [Buffer.alloc(30), 0, 30, 0], [Buffer.alloc(30)]
    ]
    for (const call of calls) {
      side.note(String(call.slice(1)))
      await side.try(() => handle.read(...call as [any]))
    }
    await side.try(() => handle.readv([Buffer.alloc(3), new Uint8Array(2)], 4))
    await side.try(() => handle.readv([Buffer.alloc(3), Buffer.alloc(30)], 20))
    await side.try(() => handle.readv([]))
    for (const buffers of [null, 'x', [Buffer.alloc(1), 'x'], Buffer.alloc(1)] as any[]) await side.try(() => handle.readv(buffers))
  })

  same('writes: where they go, which part of the data, holes, and where the next one goes on', async (side) => {
    await using handle = await side.fs.open(side.at('/file'), 'w+')
    const data = Buffer.from('abcdefghij')
    const calls: any[][] = [
      [data], ['xyz'], [data, 8], [data, 2, 3], [data, 0, 2, 0], [data, 0, 2, 40], ['end'], ['at', 3], ['ff00', null, 'hex'], ['z\u00fc', null, 'latin1'], ['\u00fc', 1, 'utf16le'], ['text', 0, 'no encoding'],
      [data, { offset: 9 }], [data, { length: 1, position: 5 }], [data, null], [data, {}], [data, 10], [data, 0, 0], [Buffer.alloc(0)], [''], [new Uint16Array([0x4142, 0x4344])], [new DataView(data.buffer, data.byteOffset + 1, 2)],
      [data, 0, 1, -5], [data, 0, 1, NaN], [data, 0, 1, 1.5], [data, 0, 1, '3'], [data, 0, 1, 3n],
      [data, -1], [data, 11], [data, 0, 11], [data, 0, -1], [data, 1.5], [data, 'x'], [7], [null], [undefined], [{}], [['a']], [new ArrayBuffer(3)], [{ toString: () => 'x' }], ['abc', null, 'hex'], [true]
    ]
    for (const call of calls) {
      side.note(String(call.slice(1)))
      await side.try(() => handle.write(...call as [any]))
      await side.try(side.fs.readFile(side.at('/file')))
    }
    await side.try(() => handle.writev([data, Buffer.from('|'), new Uint8Array([65, 66])]))
    await side.try(() => handle.writev([data, Buffer.from('|')], 2))
    await side.try(() => handle.writev([]))
    for (const buffers of [null, 'x', [Buffer.alloc(1), 'x'], Buffer.alloc(1)] as any[]) await side.try(() => handle.writev(buffers))
    await side.try(handle.readFile())
    await side.noteTree()
  })

  same('appends go to the end, whatever their position, also when the file grows elsewhere', async (side) => {
    await side.fs.writeFile(side.at('/file'), 'start-')
    await using handle = await side.fs.open(side.at('/file'), 'a+')
    await side.try(handle.read(Buffer.alloc(3)))
    await side.try(handle.write('one-'))
    await side.try(handle.read(Buffer.alloc(3)))
    await side.fs.appendFile(side.at('/file'), 'other-')
    await side.try(handle.write(Buffer.from('two-'), 0, 4, 0))
    await side.try(handle.read(Buffer.alloc(20)))
    await side.try(handle.writev([Buffer.from('thr'), Buffer.from('ee-')]))
    await side.try(handle.appendFile('four-'))
    await side.try(handle.truncate(5))
    await side.try(handle.write('five'))
    await side.try(side.fs.readFile(side.at('/file'), 'utf8'))
  })

  same('readFile and writeFile of a handle go on at its position', async (side) => {
    await using handle = await side.fs.open(side.at('/file'), 'w+')
    await side.try(handle.writeFile('one'))
    await side.try(handle.writeFile('two'))
    await side.try(handle.readFile('utf8'))
    await side.try(handle.read(Buffer.alloc(2), 0, 2, 0))
    await side.try(handle.readFile('utf8'))
    await using again = await side.fs.open(side.at('/file'), 'r+')
    await side.try(again.read(Buffer.alloc(2)))
    await side.try(again.readFile('utf8'))
    await side.try(again.readFile('utf8'))
    await side.try(again.writeFile('three'))
    await side.try(side.fs.readFile(side.at('/file'), 'utf8'))
  })

  same('readFile: encodings, flags, buffers of the caller, signals, options that are none', async (side) => {
    const { fs } = side
    const path = side.at('/file')
    await fs.writeFile(path, Buffer.from([0x68, 0xc3, 0xa9, 0xff, 0x00, 0xf0, 0x9f, 0x98, 0x80]))
    await fs.writeFile(side.at('/empty'), '')
    const aborted = AbortSignal.abort(new Error('enough'))
    const options = [
      undefined, null, 'utf8', 'UTF-8', 'latin1', 'hex', 'base64', 'base64url', 'utf16le', 'ascii', 'buffer', 'none', '', 7, {}, { encoding: 'utf8' }, { encoding: null }, { encoding: 'none' }, { flag: 'r+' }, { flag: 'w+' },
      { flag: 'wx' }, { flag: 'zz' }, { flag: null }, { flag: O_RDONLY }, { signal: aborted }, { signal: {} }, { signal: null }, { signal: new AbortController().signal, encoding: 'utf8' },
      { buffer: Buffer.alloc(20) }, { buffer: Buffer.alloc(9), encoding: 'latin1' }, { buffer: Buffer.alloc(8) }, { buffer: new Uint16Array(8) }, { buffer: (size: number) => Buffer.alloc(size) }, { buffer: 'x' }, { buffer: () => 'x' }
    ] as any[]
    for (const given of options) {
      await side.try(() => fs.readFile(path, given))
      await side.try(() => fs.readFile(side.at('/empty'), given))
      await side.try(() => fs.readFile(side.at('/none'), given))
      await side.try(() => fs.readFile(side.at('/.'), given))
      await fs.writeFile(path, Buffer.from([0x68, 0xc3, 0xa9, 0xff, 0x00, 0xf0, 0x9f, 0x98, 0x80]))
    }
  })

  same('writeFile and appendFile: data of all kinds, encodings, flags, signals, options that are none', async (side) => {
    const { fs } = side
    async function * letters (): AsyncGenerator<string | Uint8Array> { yield 'one '; yield Buffer.from('two '); yield ''; yield new Uint8Array(0); yield 'three' }
    async function * failing (): AsyncGenerator<string> { yield 'written'; throw Object.assign(new Error('enough'), { code: 'ERR_MINE' }) }
    const data: Array<() => any> = [
      () => 'text \u00e9', () => '', () => Buffer.from('bytes'), () => new Uint16Array([1, 2]), () => new DataView(new ArrayBuffer(5), 1, 3), () => ['a', Buffer.from('b')], () => new Set(['x', 'y']), letters, failing, () => [7], () => [null], () => [[]],
      () => new Blob(['blob']).stream(), () => 7, () => null, () => undefined, () => ({}), () => true, () => new ArrayBuffer(3), () => Symbol('s'), () => new String('boxed')
    ]
    for (const [index, make] of data.entries()) {
      for (const given of [undefined, 'latin1', { encoding: 'utf16le' }] as any[]) {
        side.note([index, given])
        await side.try(() => fs.writeFile(side.at('/file'), make(), given))
        await side.try(() => fs.appendFile(side.at('/file'), make(), given))
        await side.try(fs.readFile(side.at('/file')))
        await fs.rm(side.at('/file'), { force: true })
      }
    }
    const options = [
      null, 'hex', 'none', '', 7, { flag: 'a' }, { flag: 'wx' }, { flag: 'r' }, { flag: 'r+' }, { flag: '' }, { flag: 'zz' }, { flag: null }, { flag: O_WRONLY }, { flush: true }, { flush: 1 }, { flush: null }, { mode: 0o600 },
      { signal: AbortSignal.abort() }, { signal: 'x' }, { encoding: 'none' }, { encoding: null }, { encoding: 'buffer' }
    ] as any[]
    for (const given of options) {
      side.note(given)
      await side.try(() => fs.writeFile(side.at('/file'), 'abcd', given))
      await side.try(() => fs.appendFile(side.at('/file'), 'ef', given))
      await side.try(fs.readFile(side.at('/file')))
    }
    for (const path of ['/none/file', '/file/x', '/', '/dir/']) await side.try(fs.writeFile(side.at(path), 'x'))
  })

  it('an abort between two pieces ends writeFile and readFile', async () => {
    await compare(async (side) => {
      const controller = new AbortController()
      async function * pieces (): AsyncGenerator<string> { yield 'one'; controller.abort('reason'); yield 'two' }
      await side.try(side.fs.writeFile(side.at('/file'), pieces(), { signal: controller.signal }))
      await side.try(side.fs.readFile(side.at('/file'), 'utf8'))
    })
  })

  same('truncate', async (side) => {
    const { fs } = side
    await fs.mkdir(side.at('/dir'))
    await using handle = await fs.open(side.at('/file'), 'w+')
    await handle.write('0123456789')
    for (const length of [8, 20, undefined, 5, -3, 0, 3, 1.5, '7', null, NaN, 2 ** 53, {}, 7n] as any[]) {
      side.note(String(length))
      await side.try(() => handle.truncate(length))
      await side.try(() => fs.truncate(side.at('/file'), length))
      await side.try(handle.write('+'))
      await side.try(fs.readFile(side.at('/file')))
    }
    for (const path of ['/dir', '/none', '/file/']) await side.try(fs.truncate(side.at(path)))
    await using reader = await fs.open(side.at('/file'))
    await side.try(reader.truncate(1))
    await using directory = await fs.open(side.at('/dir'))
    await side.try(directory.truncate(1))
  })

  same('copyFile', async (side) => {
    const { fs } = side
    await fs.writeFile(side.at('/from'), 'content'.repeat(1000), { mode: 0o640 })
    await fs.writeFile(side.at('/to'), 'longer than it was'.repeat(1000), { mode: 0o600 })
    await fs.mkdir(side.at('/dir'))
    await fs.link(side.at('/from'), side.at('/same'))
    await fs.symlink('from', side.at('/link'))
    for (const to of ['/to', '/new', '/from', '/same', '/link', '/dir', '/none/x', '/new/']) await side.try(fs.copyFile(side.at('/from'), side.at(to)))
    for (const mode of [0, 1, 2, 3, 4, 5, 8, -1, null] as any[]) {
      side.note(mode)
      await side.try(() => fs.copyFile(side.at('/link'), side.at('/to'), mode))
      await side.try(() => fs.copyFile(side.at('/link'), side.at(`/new ${mode}`), mode))
    }
    await side.try(fs.copyFile(side.at('/none'), side.at('/x')))
    await side.try(fs.copyFile(side.at('/dir'), side.at('/x')))
    await side.noteTree()
  })

  same('a file lives on without its name while it is open', async (side) => {
    await using handle = await side.fs.open(side.at('/file'), 'w+')
    await handle.write('before ')
    await side.fs.unlink(side.at('/file'))
    await side.try(handle.write('after'))
    await side.try(handle.read(Buffer.alloc(12), 0, 12, 0))
    await side.try(handle.stat())
    await side.fs.writeFile(side.at('/file'), 'another')
    await side.try(handle.write('!', 0))
    await side.try(side.fs.readFile(side.at('/file'), 'utf8'))
  })

  same('a closed handle refuses all but close; close waits for what is under way', async (side) => {
    const handle = await side.fs.open(side.at('/file'), 'w+')
    let closed = 0
    ;(handle as any).on('close', () => { closed++ })
    const writing = handle.write('x'.repeat(100_000))
    await side.try(Promise.all([handle.close(), handle.close()]).then(() => 'closed'))
    await side.try(writing.then(({ bytesWritten }) => bytesWritten))
    side.note([closed, handle.fd])
    const calls: Array<() => unknown> = [
      () => handle.read(Buffer.alloc(1)), () => handle.readv([Buffer.alloc(1)]), () => handle.write('x'), () => handle.writev([Buffer.alloc(1)]), () => handle.readFile(), () => handle.writeFile('x'), () => handle.appendFile('x'),
      () => handle.stat(), () => handle.truncate(), () => handle.sync(), () => handle.datasync(), () => handle.chmod(0o600), () => handle.chown(0, 0), () => handle.utimes(1, 1), () => handle.close(),
      () => handle.createReadStream(), () => handle.createWriteStream(), () => handle.readableWebStream()
    ]
    for (const call of calls) await side.try(async () => call())
  })

  same('await using closes the handle', async (side) => {
    let kept
    {
      await using handle = await side.fs.open(side.at('/file'), 'w')
      await handle.write('x')
      kept = handle
    }
    await side.try(kept.write('y'))
    await side.try(side.fs.readFile(side.at('/file'), 'utf8'))
  })

  same('readFile, writeFile and appendFile take open files, too', async (side) => {
    await using handle = await side.fs.open(side.at('/file'), 'w+')
    await side.try(side.fs.writeFile(handle as any, 'one'))
    await side.try(side.fs.appendFile(handle as any, 'two'))
    await side.try(side.fs.readFile(handle as any, 'utf8'))
    await side.try(side.fs.readFile(side.at('/file'), 'utf8'))
  })

  same('calls of a handle that are not waited for keep their order and do not overlap', async (side) => {
    await using handle = await side.fs.open(side.at('/file'), 'a+')
    const one = Array.from({ length: 20 }, (_, index) => handle.write(`${index % 10}`))
    await Promise.all([...one, ...Array.from({ length: 20 }, () => side.fs.appendFile(side.at('/file'), 'x'))])
    side.note([...await side.fs.readFile(side.at('/file'), 'utf8')].sort().join(''))
    await using reader = await side.fs.open(side.at('/file'))
    const parts = await Promise.all(Array.from({ length: 10 }, () => reader.read(Buffer.alloc(4))))
    side.note(parts.map(({ buffer }) => buffer.toString()).join('').length)
    side.note(await reader.readFile('utf8'))
  })
})
