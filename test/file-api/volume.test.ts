import { expect } from 'chai'
import { readFileSync } from 'node:fs'
import * as promises from 'node:fs/promises'
import { constants } from 'node:os'
import { pipeline } from 'node:stream/promises'
import { format } from 'node:util'
import { VolumeFileSystem } from '../../client/file-api/mounted-volume.ts'
import { removalsInFlightMax } from '../../client/file-api/remove-tree.ts'
import type { MountedVolume } from '../../client/file-api/types.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { systemClock } from '../../fsnode/protocol/system.ts'
import { pattern, TestCluster } from '../client/cluster.ts'
import { MemoryVolume } from '../fuse/memory-volume.ts'
import { memoryVolume } from './twin.ts'

const code = (call: Promise<unknown>): Promise<string> => call.then(() => 'well', (error) => error.code)
const page = readFileSync(new URL('../../docs/file-api.md', import.meta.url), 'utf8')

describe('file-api: a mounted volume', () => {
  it('has what node:fs/promises has, but for what the page lists', () => {
    const fs = memoryVolume()
    const absent = Object.keys(promises).filter((name) => name !== 'default' && !(name in fs))
    expect(absent).to.have.members(['glob', 'watch', 'lchmod'])
    const listed = page.slice(page.indexOf('Not there:'))
    for (const name of absent) expect(listed).to.include(`\`${name}\``)
    const present = page.slice(page.indexOf('## What there is'), page.indexOf('## Differences'))
    for (const name of Object.keys(promises)) if (name in fs) expect(present).to.include(`\`${name}\``)
  })

  it('gives functions that need no this', async () => {
    const { writeFile, readFile, open, createReadStream, rm } = memoryVolume()
    await writeFile('/file', 'content')
    expect(await readFile('/file', 'utf8')).to.equal('content')
    const { readFile: ofHandle } = { ...await open('/file') }
    expect(ofHandle).to.equal(undefined)
    let text = ''
    for await (const part of createReadStream('/file', 'utf8')) text += part
    expect(text).to.equal('content')
    await rm('/file')
  })

  it('starts relative paths at its root, where there is nothing above', async () => {
    const fs = memoryVolume()
    await fs.writeFile('file', 'x')
    expect(await fs.readFile('/../../file', 'utf8')).to.equal('x')
    expect(await fs.realpath('.')).to.equal('/')
    expect(await fs.mkdir('a/b', { recursive: true })).to.equal('a')
  })

  it('keeps its root, with the errors that Linux has for it', async () => {
    const fs = memoryVolume()
    await fs.writeFile('/file', '')
    const calls: Array<[string, Promise<unknown>]> = [
      ['EEXIST', fs.mkdir('/')], ['well', fs.mkdir('/', { recursive: true })], ['EBUSY', fs.rmdir('/')], ['EISDIR', fs.unlink('/')], ['EBUSY', fs.rename('/', '/x')], ['EBUSY', fs.rename('/file', '/')],
      ['EEXIST', fs.link('/file', '/')], ['EPERM', fs.link('/', '/x')], ['EEXIST', fs.symlink('x', '/')], ['EISDIR', fs.writeFile('/', '')], ['EEXIST', fs.writeFile('/', '', { flag: 'wx' })], ['EINVAL', fs.readlink('/')],
      ['EBUSY', fs.rm('/', { recursive: true })], ['ERR_FS_EISDIR', fs.rm('/')]
    ]
    for (const [expected, call] of calls) expect(await code(call)).to.equal(expected)
    expect(await fs.readdir('/')).to.deep.equal(['file'])
  })

  it('refuses paths that are not UTF-8', async () => {
    expect(await code(memoryVolume().stat(Buffer.from([0x2f, 0xff])))).to.equal('ERR_INVALID_ARG_VALUE')
  })

  it('gives new files the owner and umask that it was mounted with', async () => {
    const fs = new VolumeFileSystem({ volume: new MemoryVolume({ clock: systemClock }) }, { dev: 9, uid: 11, gid: 22, umask: 0o27 })
    await fs.writeFile('/file', '')
    await fs.mkdir('/dir')
    const [file, dir] = [await fs.stat('/file'), await fs.stat('/dir')]
    expect([file.uid, file.gid, file.mode & 0o777, dir.mode & 0o777, file.dev]).to.deep.equal([11, 22, 0o640, 0o750, 9])
  })

  it('tells failures of the cluster by their own code, with EIO for programs and the cause for people', async () => {
    const volume = new MemoryVolume({ clock: systemClock })
    const fs = memoryVolume(volume)
    const failure = new AtollError('ATOLL_UNAVAILABLE', 'no quorum', { hint: 'atoll status' })
    volume.lookup = async () => { throw failure }
    const error = await fs.stat('/file').then(() => null, (caught) => caught)
    expect([error.code, error.errno, error.syscall, error.path, error.cause]).to.deep.equal(['ATOLL_UNAVAILABLE', -constants.errno.EIO, 'stat', '/file', failure])
    expect(error.message).to.include('no quorum')
  })

  it('a handle whose data cannot be written back fails its close, and is closed', async () => {
    const volume = new MemoryVolume({ clock: systemClock })
    const fs = memoryVolume(volume)
    const create = volume.create.bind(volume)
    let released = 0
    volume.create = async (...args) => {
      const created = await create(...args)
      return { ...created, file: Object.assign(created.file, { flush: async () => { throw new AtollError('ENOSPC', 'full') }, release: async () => { released++ } }) }
    }
    const error = await fs.writeFile('/file', 'x').then(() => null, (caught) => caught)
    expect([error.code, error.syscall, released]).to.deep.equal(['ENOSPC', 'close', 1])
  })

  it('a name that others make or remove between the look and the open is looked for again', async () => {
    const volume = new MemoryVolume({ clock: systemClock })
    const fs = memoryVolume(volume)
    await fs.writeFile('/target', 'old')
    const create = volume.create.bind(volume)
    volume.create = async (...args) => {
      volume.create = create
      await fs.symlink('target', '/file')
      return create(...args)
    }
    await fs.writeFile('/file', 'new')
    expect([await fs.readlink('/file'), await fs.readFile('/target', 'utf8')]).to.deep.equal(['target', 'new'])
    const open = volume.open.bind(volume)
    volume.open = async (...args) => {
      volume.open = open
      await fs.unlink('/target')
      throw new AtollError('ENOENT', `inode ${args[0]}`)
    }
    await fs.writeFile('/target', 'again')
    expect(await fs.readFile('/target', 'utf8')).to.equal('again')
  })

  it('copyFile of a directory leaves the target as it is; a copy that fails half-way leaves none', async () => {
    const volume = new MemoryVolume({ clock: systemClock })
    const fs = memoryVolume(volume)
    await fs.mkdir('/dir')
    await fs.writeFile('/target', 'kept')
    expect(await code(fs.copyFile('/dir', '/target'))).to.equal('EISDIR')
    expect(await fs.readFile('/target', 'utf8')).to.equal('kept')
    const writeAt = volume.writeAt.bind(volume)
    volume.writeAt = () => { throw new AtollError('ENOSPC', 'full') }
    expect(await code(fs.copyFile('/target', '/copy'))).to.equal('ENOSPC')
    volume.writeAt = writeAt
    expect(await fs.readdir('/')).to.deep.equal(['dir', 'target'])
  })

  it('trees are removed in parallel, and within bounds however wide and deep they are', async () => {
    const volume = new MemoryVolume({ clock: systemClock })
    const fs = memoryVolume(volume)
    for (let index = 0; index < 30; index++) {
      await fs.mkdir(`/tree/${index}/a/b/c`, { recursive: true })
      for (const below of ['', '/a', '/a/b', '/a/b/c']) for (let file = 0; file < 8; file++) await fs.writeFile(`/tree/${index}${below}/${file}`, '')
    }
    let [inFlight, most] = [0, 0]
    for (const name of ['unlink', 'rmdir', 'readdir'] as const) {
      const call = volume[name].bind(volume) as (...args: any[]) => Promise<any>
      ;(volume as any)[name] = async (...args: unknown[]) => {
        most = Math.max(most, ++inFlight)
        await new Promise((resolve) => { setImmediate(resolve) })
        inFlight--
        return call(...args)
      }
    }
    await fs.rm('/tree', { recursive: true })
    expect(await fs.readdir('/')).to.deep.equal([])
    expect(most).to.be.within(removalsInFlightMax / 2, removalsInFlightMax)
  })

  it('rm tells what it cannot remove, and stops there', async () => {
    const volume = new MemoryVolume({ clock: systemClock })
    const fs = memoryVolume(volume)
    await fs.mkdir('/tree/sub', { recursive: true })
    for (let index = 0; index < 50; index++) await fs.writeFile(`/tree/sub/${index}`, '')
    const unlink = volume.unlink.bind(volume)
    volume.unlink = async (dir, name, context) => {
      if (name === '7') throw new AtollError('EIO', 'lost')
      await unlink(dir, name, context)
    }
    const error = await fs.rm('/tree', { recursive: true }).then(() => null, (caught) => caught)
    expect([error.code, error.syscall, error.path]).to.deep.equal(['EIO', 'rmdir', '/tree'])
    expect(await fs.readdir('/tree/sub')).to.include('7')
  })
})

describe('file-api: mounted from a cluster', () => {
  async function open (init = {}): Promise<{ cluster: TestCluster, mount: (options?: object) => Promise<MountedVolume> }> {
    const cluster = await TestCluster.open({ metadataPartitions: 2, chunkSizeBytes: 1 << 20, ...init })
    return { cluster, mount: (options) => cluster.run(cluster.connect().then((connected) => connected.mount('v', options))) }
  }

  it('is what the package exports', async () => {
    const { connect } = await import('atollfs')
    expect(await code(connect({ nodes: ['nowhere'] }))).to.equal('ATOLL_BAD_ARGUMENT')
  })

  it('the example of the page prints what the page says', async () => {
    const cluster = await TestCluster.open()
    cluster.volume.name = 'main'
    const [example, printed] = [...page.matchAll(/```(?:js)?\n([^]*?)```/g)].map((match) => match[1]!) as [string, string]
    const [first, ...rest] = example.split('\n')
    expect(first).to.equal("import { connect } from 'atollfs'")
    const lines: string[] = []
    const run = Object.getPrototypeOf(async () => {}).constructor('connect', 'console', rest.join('\n'))
    await cluster.run(run(() => cluster.connect(), { log: (...told: unknown[]) => { lines.push(format(...told)) } }))
    expect(lines.join('\n') + '\n').to.equal(printed)
  })

  it('shows the volume as its device, and refuses volumes that there are not', async () => {
    const { cluster, mount } = await open()
    const fs = await mount({ uid: 5, gid: 6 })
    const { dev, uid, gid } = await cluster.run(fs.writeFile('/file', '').then(() => fs.stat('/file')))
    expect([dev, uid, gid]).to.deep.equal([7, 5, 6])
    expect(await cluster.run(code(cluster.connect().then((connected) => connected.mount('none'))))).to.equal('ATOLL_NO_SUCH_VOLUME')
    expect((await cluster.run(fs.statfs('/'))).bsize).to.equal(4096)
  })

  it('two mounts see what the other has done when its call has ended', async () => {
    const { cluster, mount } = await open()
    const [one, other] = [await mount(), await mount()]
    await cluster.run((async () => {
      await one.mkdir('/shared')
      expect(await other.readdir('/')).to.deep.equal(['shared'])
      for (let round = 0; round < 10; round++) {
        await one.appendFile('/shared/log', `one ${round}\n`)
        await other.appendFile('/shared/log', `other ${round}\n`)
      }
      const expected = Array.from({ length: 10 }, (_, round) => `one ${round}\nother ${round}\n`).join('')
      expect(await one.readFile('/shared/log', 'utf8')).to.equal(expected)
      await other.rename('/shared/log', '/shared/moved')
      expect(await one.readdir('/shared')).to.deep.equal(['moved'])
      await one.rm('/shared', { recursive: true })
      expect(await code(other.stat('/shared'))).to.equal('ENOENT')
    })())
  })

  it('big files pass through streams and copies unchanged, and buffers may be used again at once', async () => {
    const { cluster, mount } = await open()
    const [one, other] = [await mount(), await mount()]
    const content = pattern(9_000_000)
    await cluster.run((async () => {
      const handle = await one.open('/big', 'w')
      const buffer = Buffer.alloc(1_000_000)
      for (let at = 0; at < content.length; at += buffer.length) {
        content.copy(buffer, 0, at)
        await handle.write(buffer)
        buffer.fill(0)
      }
      await handle.close()
      expect((await other.readFile('/big')).equals(content)).to.equal(true)
      await pipeline(other.createReadStream('/big'), other.createWriteStream('/streamed'))
      expect((await one.readFile('/streamed')).equals(content)).to.equal(true)
      await one.copyFile('/streamed', '/copied')
      await one.sync()
      expect((await other.readFile('/copied')).equals(content)).to.equal(true)
      const parts: Buffer[] = []
      for await (const part of other.createReadStream('/copied', { start: 4_000_001, end: 4_999_999 })) parts.push(part)
      expect(Buffer.concat(parts).equals(content.subarray(4_000_001, 5_000_000))).to.equal(true)
    })())
  })

  it('close writes back what is open and closes the volume\'s connection', async () => {
    const { cluster, mount } = await open()
    const [one, other] = [await mount(), await mount()]
    await cluster.run((async () => {
      const handle = await one.open('/file', 'w')
      await handle.write('kept')
      await one.close()
      await one.close()
      expect(await other.readFile('/file', 'utf8')).to.equal('kept')
      expect(await code(one.readFile('/file'))).to.not.equal('well')
    })())
    cluster.resetCounts()
    await cluster.clock.advance(120_000)
    await cluster.run(other.close())
    cluster.resetCounts()
    await cluster.clock.advance(120_000)
    expect(cluster.count('meta.renew')).to.equal(0)
  })
})
