import { expect } from 'chai'
import { finished, pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'
import { systemClock } from '../../fsnode/protocol/system.ts'
import type { OpenFile } from '../../client/types.ts'
import { MemoryVolume } from '../fuse/memory-volume.ts'
import { memoryVolume, same, type Side } from './twin.ts'

const alphabet = 'abcdefghijklmnopqrstuvwxyz'

/** The events of a stream and what it read. */
async function watch (side: Side, make: () => any): Promise<void> {
  await side.try(async () => {
    const stream = make()
    const events: unknown[] = []
    for (const event of ['open', 'ready', 'end', 'finish', 'error', 'close']) stream.on(event, (...told: unknown[]) => { events.push(event, event === 'error' ? told[0] : '') })
    const parts: Buffer[] = []
    if (stream instanceof Readable) stream.on('data', (part) => { parts.push(Buffer.from(part)) })
    const { promise, resolve } = Promise.withResolvers<void>()
    stream.on('close', resolve)
    if (stream.autoClose === false) stream.on('end', resolve).on('finish', resolve).on('error', resolve)
    await promise
    return { events, bytes: Buffer.concat(parts), read: stream.bytesRead, written: stream.bytesWritten, pending: stream.pending, path: stream.path, destroyed: stream.destroyed }
  })
}

describe('file-api: streams behave as in node:fs', () => {
  same('read streams: ranges, sizes, encodings, errors, options that are none', async (side) => {
    await side.fs.writeFile(side.at('/file'), alphabet)
    await side.fs.mkdir(side.at('/dir'))
    const options = [
      undefined, {}, 'utf8', { start: 5 }, { start: 5, end: 9 }, { end: 3 }, { start: 0, end: 0 }, { start: 26 }, { start: 100 }, { start: 20, end: 100 }, { end: Infinity }, { highWaterMark: 4 }, { highWaterMark: 4, start: 3, end: 12 },
      { encoding: 'hex' }, { flags: 'r+' }, { flags: 'w+' }, { flags: 'a+' }, { flags: 'wx' }, { flags: 'zz' }, { mode: 0o600, flags: 'w+' }, { start: 5, end: 4 }, { start: -1 }, { start: 'x' }, { end: 1.5 }, { emitClose: false, autoClose: false },
      { autoClose: false }, { encoding: 'none' }, 7, { signal: AbortSignal.abort() }
    ] as any[]
    for (const given of options) {
      side.note(JSON.stringify(given))
      await watch(side, () => side.fs.createReadStream(side.at('/file'), given))
      await side.fs.writeFile(side.at('/file'), alphabet)
    }
    for (const path of ['/none', '/dir', '/file/x', '/file/']) await watch(side, () => side.fs.createReadStream(side.at(path)))
    for (const path of [null, 7, '\0'] as any[]) await side.try(async () => side.fs.createReadStream(path))
    await watch(side, () => side.fs.createReadStream(side.at('/none'), { flags: 'w+', mode: 0o600 }))
    await side.noteTree()
  })

  same('write streams: positions, flags, modes, encodings, errors, options that are none', async (side) => {
    await side.fs.mkdir(side.at('/dir'))
    const options = [
      undefined, {}, 'latin1', { start: 5 }, { flags: 'r+', start: 5 }, { flags: 'a' }, { flags: 'a', start: 2 }, { flags: 'wx' }, { flags: 'r' }, { flags: 'zz' }, { mode: 0o600 }, { highWaterMark: 2 }, { flush: true }, { flush: 1 },
      { encoding: 'hex' }, { start: -1 }, { start: 'x' }, { autoClose: false }, { emitClose: false, autoClose: false }, 7
    ] as any[]
    for (const given of options) {
      await side.fs.writeFile(side.at('/file'), alphabet)
      side.note(JSON.stringify(given))
      await watch(side, () => {
        const stream = side.fs.createWriteStream(side.at('/file'), given)
        stream.write('one\u00e9')
        stream.write(Buffer.from('two'))
        stream.end('0102')
        return stream
      })
      await side.try(side.fs.readFile(side.at('/file')))
    }
    for (const path of ['/none/x', '/dir', '/file/x', '/new/']) await watch(side, () => side.fs.createWriteStream(side.at(path)).end('x'))
    await watch(side, () => side.fs.createWriteStream(side.at('/new'), { mode: 0o640 }).end('x'))
    await side.noteTree()
  })

  same('streams of a handle: ranges, who closes the handle, what its close does', async (side) => {
    const { fs } = side
    await fs.writeFile(side.at('/file'), alphabet)
    for (const options of [undefined, { start: 3, end: 7 }, { autoClose: false }, { highWaterMark: 5 }, { encoding: 'utf8' }, { start: 1, autoClose: false }] as any[]) {
      side.note(options)
      const handle = await fs.open(side.at('/file'), 'r+')
      await handle.read(Buffer.alloc(2))
      await watch(side, () => handle.createReadStream(options))
      await side.try(handle.read(Buffer.alloc(4)))
      await side.try(handle.close())
      // Node's own handle could not be closed after such a stream.
      if (options?.autoClose === false) continue
      const writer = await fs.open(side.at('/file'), 'r+')
      await watch(side, () => writer.createWriteStream(options).end('XY'))
      await side.try(writer.write('Z'))
      await side.try(writer.close())
      await side.try(fs.readFile(side.at('/file'), 'utf8'))
    }
    const handle = await fs.open(side.at('/file'))
    const reading = handle.createReadStream({ highWaterMark: 2 })
    const closed = new Promise((resolve) => reading.on('close', resolve))
    await handle.close()
    await closed
    side.note([reading.destroyed, handle.fd])
    const writer = await fs.open(side.at('/file'), 'w')
    const writing = writer.createWriteStream()
    writing.write('written before the close')
    await writer.close()
    side.note([writing.writableFinished, await fs.readFile(side.at('/file'), 'utf8')])
  })

  same('pipeline, readLines and web streams', async (side) => {
    const { fs } = side
    await fs.writeFile(side.at('/file'), 'one\ntwo\r\nthree\n\nlast')
    await side.try(pipeline(fs.createReadStream(side.at('/file')), fs.createWriteStream(side.at('/copy'))))
    await side.try(pipeline(fs.createReadStream(side.at('/none')), fs.createWriteStream(side.at('/copy2'))))
    await side.try(pipeline(async function * () { yield 'part'; throw Object.assign(new Error('enough'), { code: 'MINE' }) }, fs.createWriteStream(side.at('/part'))))
    await side.try(pipeline(['a', Buffer.from('b')], fs.createWriteStream(side.at('/list'))))
    await side.try(fs.writeFile(side.at('/from-stream'), fs.createReadStream(side.at('/file'), { highWaterMark: 3 })))
    const lines = []
    for await (const line of (await fs.open(side.at('/file'))).readLines()) lines.push(line)
    side.note(lines)
    const handle = await fs.open(side.at('/file'))
    const parts = []
    for await (const part of handle.readableWebStream()) parts.push(Buffer.from(part))
    side.note(Buffer.concat(parts))
    await side.try(handle.read(Buffer.alloc(1)))
    await side.try(handle.close())
    const closing = await fs.open(side.at('/file'))
    for await (const part of closing.readableWebStream({ autoClose: true })) side.note(part.byteLength)
    side.note(closing.fd)
    const reader = (await fs.open(side.at('/file'))).readableWebStream({ autoClose: true }).getReader({ mode: 'byob' })
    await side.try(reader.read(new Uint8Array(5)).then(({ done, value }: any) => [done, value]))
    await side.try(reader.cancel())
    const shut = await fs.open(side.at('/file'))
    const waiting = shut.readableWebStream().getReader()
    await side.try(waiting.read().then(({ done }) => done))
    await side.try(shut.close())
    await side.try(waiting.read())
    await side.try(async () => shut.readableWebStream())
    await side.noteTree()
  })

  it('a writer waits while more than its share is under way, and writes big pieces', async () => {
    const { promise: opened, resolve: open } = Promise.withResolvers<void>()
    const pieces: number[] = []
    class SlowVolume extends MemoryVolume {
      override async create (...args: Parameters<MemoryVolume['create']>): ReturnType<MemoryVolume['create']> {
        const created = await super.create(...args)
        const { file } = created
        const slow: OpenFile = {
          ino: file.ino,
          read: (offset, length) => file.read(offset, length),
          write: async (offset, data) => {
            pieces.push(data.reduce((sum, part) => sum + part.length, 0))
            await opened
            await file.write(offset, data)
          },
          flush: () => file.flush(),
          sync: () => file.sync(),
          release: () => file.release()
        }
        return { ...created, file: slow }
      }
    }
    const fs = memoryVolume(new SlowVolume({ clock: systemClock }))
    const stream = fs.createWriteStream('/file', { highWaterMark: 100_000 })
    const part = Buffer.alloc(10_000, 'x')
    let written = 0
    while (stream.write(part)) written++
    expect(written).to.equal(9)
    open()
    for (; written < 60; written++) if (!stream.write(part)) await new Promise((resolve) => stream.once('drain', resolve))
    stream.end()
    await finished(stream)
    expect((await fs.stat('/file')).size).to.equal(610_000)
    expect(pieces.length).to.be.lessThan(30)
  })

  it('a handle can be closed after a stream that did not close it', async () => {
    const fs = memoryVolume()
    const handle = await fs.open('/file', 'w')
    const stream = handle.createWriteStream({ autoClose: false }).end('x')
    await finished(stream)
    await handle.close()
    expect([handle.fd, stream.destroyed]).to.deep.equal([-1, true])
  })

  it('what was read may be changed: the volume keeps its own bytes', async () => {
    const fs = memoryVolume()
    await fs.writeFile('/file', alphabet)
    for await (const part of fs.createReadStream('/file')) part.fill(0)
    ;(await fs.readFile('/file')).fill(0)
    expect(await fs.readFile('/file', 'utf8')).to.equal(alphabet)
  })
})
