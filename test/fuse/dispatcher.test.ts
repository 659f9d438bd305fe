import { constants } from 'node:fs'
import { expect } from 'chai'
import type { OpenFile } from '../../client/types.ts'
import { posixError } from '../../fsnode/protocol/errors.ts'
import { withoutPrivileges } from '../../fsnode/protocol/posix.ts'
import * as fuse from '../../fuse/protocol/constants.ts'
import { wantedFlags } from '../../fuse/protocol/init.ts'
import { operationIdOf, parseHeader } from '../../fuse/protocol/request.ts'
import { interruptGraceMs } from '../../fuse/filesystem/dispatcher.ts'
import { lentBuffersPerFileMax } from '../../fuse/filesystem/file-handles.ts'
import { SimClock, settle } from '../sim/clock.ts'
import { root, start, nameOf, lookup, sizeIn, modeIn, getattr, gate } from './dispatching.ts'
import { errnoName, FakeKernel, requestBytes, text, u32, u64, type KernelReply } from './fake-kernel.ts'
import { MemoryVolume } from './memory-volume.ts'

describe('fuse dispatcher: names', () => {
  it('a name that exists gives its node and long timeouts, one that does not a cached absence', async () => {
    const { kernel, volume } = await start()
    const { ino } = await volume.mkdir(1, 'dir', 0o755, root)
    const found = await lookup(kernel, 1, 'dir')
    expect([Number(found.payload.readBigUInt64LE(0)), Number(found.payload.readBigUInt64LE(16)), Number(found.payload.readBigUInt64LE(24))]).to.deep.equal([ino, 3600, 3600])
    const absent = await lookup(kernel, 1, 'nothing')
    expect([absent.errno, Number(absent.payload.readBigUInt64LE(0)), Number(absent.payload.readBigUInt64LE(16))]).to.deep.equal([0, 0, 3600])
  })

  it('creates belong to the caller and are done once however often they are resent', async () => {
    const { kernel, volume } = await start()
    const first = await kernel.ask({ opcode: fuse.FUSE_MKDIR, unique: 100n }, u32(0o750, 0o22), text('dir'))
    const again = await kernel.ask({ opcode: fuse.FUSE_MKDIR, unique: 100n | (1n << 63n) }, u32(0o750, 0o22), text('dir'))
    expect([first.errno, again.errno]).to.deep.equal([0, 0])
    expect(again.payload.readBigUInt64LE(0)).to.equal(first.payload.readBigUInt64LE(0))
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_MKDIR }, u32(0o750, 0o22), text('dir')))).to.equal('EEXIST')
    const { uid, gid, mode } = await volume.lookup(1, 'dir')
    expect([uid, gid, mode]).to.deep.equal([1000, 100, 0o040750])
  })

  it('mknod, symlink, link, unlink, rmdir and both renames', async () => {
    const { kernel, volume } = await start()
    await kernel.ask({ opcode: fuse.FUSE_MKNOD }, u32(0o010600, 0, 0, 0), text('fifo'))
    expect((await volume.lookup(1, 'fifo')).mode).to.equal(0o010600)
    const made = await kernel.ask({ opcode: fuse.FUSE_SYMLINK }, text('link', 'to/some\u00e4where'))
    const link = await kernel.ask({ opcode: fuse.FUSE_READLINK, nodeid: made.payload.readBigUInt64LE(0) })
    expect(link.payload.toString()).to.equal('to/some\u00e4where')
    const { ino } = await kernel.create(1, 'file')
    expect((await kernel.ask({ opcode: fuse.FUSE_LINK }, u64(ino), text('second'))).payload.readUInt32LE(40 + 64)).to.equal(2)
    await kernel.ask({ opcode: fuse.FUSE_MKDIR }, u32(0o755, 0), text('dir'))
    const dir = (await volume.lookup(1, 'dir')).ino
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_RENAME }, u64(dir), text('second', 'moved')))).to.equal('OK')
    expect((await volume.lookup(dir, 'moved')).ino).to.equal(ino)
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_RMDIR }, text('dir')))).to.equal('ENOTEMPTY')
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_RENAME2 }, u64(1), u32(1, 0), text('file', 'fifo')))).to.equal('EEXIST')
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_RENAME2 }, u64(1), u32(2, 0), text('file', 'fifo')))).to.equal('OK')
    expect((await volume.lookup(1, 'fifo')).ino).to.equal(ino)
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_RENAME2 }, u64(1), u32(4, 0), text('file', 'x')))).to.equal('EINVAL')
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_UNLINK, nodeid: dir }, text('moved')))).to.equal('OK')
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_RMDIR }, text('dir')))).to.equal('OK')
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_UNLINK }, text('dir')))).to.equal('ENOENT')
  })

  it('an inode that vanished is stale, so that the kernel walks the path again', async () => {
    const { kernel } = await start()
    expect(nameOf(await getattr(kernel, 77))).to.equal('ESTALE')
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_OPEN, nodeid: 77 }, u32(0, 0)))).to.equal('ESTALE')
    expect(nameOf(await kernel.read(77, 5, 0, 4096, fuse.FUSE_READDIR))).to.equal('ESTALE')
  })
})

describe('fuse dispatcher: files', () => {
  it('what is written is read back, and the end of the file shortens a read', async () => {
    const { kernel } = await start()
    const { ino, fh } = await kernel.create(1, 'file')
    const written = await kernel.write(ino, fh, 3, Buffer.from('hello'))
    expect(written.payload.readUInt32LE(0)).to.equal(5)
    expect((await kernel.read(ino, fh, 0, 100)).payload.toString('latin1')).to.equal('\0\0\0hello')
    expect((await kernel.read(ino, fh, 8, 100)).payload.length).to.equal(0)
  })

  it('a big write keeps its buffer until flush, a small one is copied', async () => {
    const { kernel, volume } = await start()
    const held: Buffer[] = []
    const open = volume.open.bind(volume)
    volume.open = async (ino, options) => {
      const file = await open(ino, options)
      file.write = async (_offset, data) => { held.push(...data) }
      return file
    }
    const { ino } = await kernel.create(1, 'file')
    const fh = Number((await kernel.ask({ opcode: fuse.FUSE_OPEN, nodeid: ino }, u32(2, 0))).payload.readBigUInt64LE(0))
    const big = Buffer.alloc(1 << 20, 7)
    const small = Buffer.alloc(4096, 8)
    await kernel.write(ino, fh, 0, big)
    await kernel.write(ino, fh, 0, small)
    await kernel.read(ino, fh, 0, 10)
    expect(held[0]!.equals(big), 'the big one').to.equal(true)
    expect(held[1]!.equals(small), 'the small one').to.equal(true)
    expect(held[0]!.buffer.byteLength, 'handed over, not copied').to.equal(fuse.requestBufferBytes)
  })

  it('buffers come back with a flush in the background, so that a long write needs only a few', async () => {
    const { kernel } = await start()
    const { ino, fh } = await kernel.create(1, 'file')
    const distinct = new Set<Buffer>()
    const take = kernel.pool.take.bind(kernel.pool)
    kernel.pool.take = () => {
      const buffer = take()
      if (buffer !== null) distinct.add(buffer)
      return buffer
    }
    for (let index = 0; index < 40; index++) {
      expect(nameOf(await kernel.write(ino, fh, index << 17, Buffer.alloc(1 << 17, index)))).to.equal('OK')
    }
    await kernel.ask({ opcode: fuse.FUSE_FLUSH, nodeid: ino }, u64(fh, 0, 0))
    expect(distinct.size).to.be.at.most(8)
    expect(lentBuffersPerFileMax).to.be.below(48)
    for (let index = 0; index < 40; index++) expect((await kernel.read(ino, fh, index << 17, 1)).payload[0]).to.equal(index)
  })

  it('a close waits for a flush that is under way, and a failed one is reported once', async () => {
    const { kernel, volume } = await start()
    const { ino } = await kernel.create(1, 'file')
    const { wait, open } = gate()
    let flushes = 0
    const openFile = volume.open.bind(volume)
    volume.open = async (which, options) => {
      const file: OpenFile = await openFile(which, options)
      file.flush = async () => {
        if (flushes++ === 0) {
          await wait
          throw posixError('ENOSPC')
        }
      }
      return file
    }
    const fh = Number((await kernel.ask({ opcode: fuse.FUSE_OPEN, nodeid: ino }, u32(2, 0))).payload.readBigUInt64LE(0))
    await kernel.write(ino, fh, 0, Buffer.from('x'))
    const first = kernel.ask({ opcode: fuse.FUSE_FLUSH, nodeid: ino }, u64(fh, 0, 0))
    let secondDone = false
    const second = kernel.ask({ opcode: fuse.FUSE_FLUSH, nodeid: ino }, u64(fh, 0, 0)).then((reply) => { secondDone = true; return reply })
    await settle()
    expect(secondDone).to.equal(false)
    open()
    expect([nameOf(await first), nameOf(await second)]).to.deep.equal(['ENOSPC', 'OK'])
    expect(flushes).to.equal(2)
  })

  it('O_TRUNC is part of open and of a create that finds the file; O_EXCL is not', async () => {
    const { kernel } = await start()
    const { ino, fh } = await kernel.create(1, 'file')
    await kernel.write(ino, fh, 0, Buffer.from('content'))
    await kernel.ask({ opcode: fuse.FUSE_OPEN, nodeid: ino }, u32(0o1001, 0))
    expect(sizeIn((await getattr(kernel, ino)).payload, 16)).to.equal(0)
    await kernel.write(ino, fh, 0, Buffer.from('content'))
    const again = await kernel.ask({ opcode: fuse.FUSE_CREATE }, u32(0o1101, 0o100600, 0, 0), text('file'))
    expect([Number(again.payload.readBigUInt64LE(0)), sizeIn(again.payload, 40)]).to.deep.equal([ino, 0])
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_CREATE }, u32(0o301, 0o100600, 0, 0), text('file')))).to.equal('EEXIST')
  })

  it('an append goes to the real end when another mount has moved it, and the kernel forgets the pages', async () => {
    const { kernel, volume } = await start()
    const { ino, fh } = await kernel.create(1, 'log')
    await kernel.write(ino, fh, 0, Buffer.from('1234'), { flags: 0o2001 })
    volume.writeAt(ino, 4, [Buffer.from('other')])
    const unique = kernel.nextUnique()
    await kernel.write(ino, fh, 4, Buffer.from('mine'), { flags: 0o2001, unique })
    expect(volume.readAt(ino, 0, 100).toString()).to.equal('1234othermine')
    await settle()
    expect(kernel.notifications.map((message) => [message.readInt32LE(4), Number(message.readBigUInt64LE(16)), Number(message.readBigInt64LE(24))])).to.deep.equal([[fuse.FUSE_NOTIFY_INVAL_INODE, ino, 0]])
    const written = new Map([[operationIdOf(parseHeader(requestBytes({ opcode: fuse.FUSE_WRITE, nodeid: ino, unique }), fuse.FUSE_IN_HEADER_SIZE)), 9]])
    const successor = new FakeKernel(volume, { generation: 1, negotiated: { minor: 45, flags: String(wantedFlags), maxReadahead: 0 }, written })
    const again = await successor.write(ino, fh, 4, Buffer.from('mine'), { flags: 0o2001, unique: unique | (1n << 63n) })
    expect(nameOf(again)).to.equal('OK')
    expect(volume.readAt(ino, 0, 100).toString(), 'resent: not twice').to.equal('1234othermine')
    await successor.write(ino, fh, 4, Buffer.from('more'), { flags: 0o2001, unique: successor.nextUnique() | (1n << 63n) })
    expect(volume.readAt(ino, 0, 100).toString(), 'resent and not known: over nobody\'s data').to.equal('1234otherminemore')
  })

  it('an append goes to the real end when another mount has cut the file', async () => {
    const { kernel, volume } = await start()
    const { ino, fh } = await kernel.create(1, 'log')
    await kernel.write(ino, fh, 0, Buffer.from('before'), { flags: 0o2001 })
    await volume.setattr(ino, { size: 2 }, { uid: 0, gid: 0 })
    await kernel.write(ino, fh, 6, Buffer.from('after'), { flags: 0o2001 })
    expect(volume.readAt(ino, 0, 100).toString()).to.equal('beafter')
    await settle()
    expect(kernel.notifications, 'the kernel takes the size for a greater one').to.have.length(1)
  })

  it('who only appends does so past the page cache, which would cut what is written', async () => {
    const { kernel } = await start()
    const { ino } = await kernel.create(1, 'log')
    const direct = async (flags: number): Promise<boolean> => ((await kernel.ask({ opcode: fuse.FUSE_OPEN, nodeid: ino }, u32(flags, 0))).payload.readUInt32LE(8) & fuse.FOPEN_DIRECT_IO) !== 0
    expect([await direct(constants.O_WRONLY | constants.O_APPEND), await direct(constants.O_WRONLY), await direct(constants.O_RDWR | constants.O_APPEND), await direct(constants.O_RDONLY)])
      .to.deep.equal([true, false, false, false])
  })

  it('an unknown handle (its worker is gone) opens the inode anew; its own are never mistaken for older ones', async () => {
    const { kernel, volume } = await start()
    const { ino, fh } = await kernel.create(1, 'file')
    await kernel.write(ino, fh, 0, Buffer.from('before'))
    const successor = new FakeKernel(volume, { generation: 1, negotiated: { minor: 45, flags: String(wantedFlags), maxReadahead: 0 } })
    expect((await successor.read(ino, fh, 0, 100)).payload.toString()).to.equal('before')
    expect(nameOf(await successor.write(ino, fh, 0, Buffer.from('BEFORE')))).to.equal('OK')
    const opened = await successor.ask({ opcode: fuse.FUSE_OPEN, nodeid: ino }, u32(0, 0))
    expect(Number(opened.payload.readBigUInt64LE(0))).to.be.above(2 ** 32)
    for (const [opcode, body] of [[fuse.FUSE_FLUSH, u64(fh + 9, 0, 0)], [fuse.FUSE_RELEASE, u64(fh + 9, 0, 0)], [fuse.FUSE_FSYNC, u64(fh + 9, 0)]] as const) {
      expect(nameOf(await successor.ask({ opcode, nodeid: ino }, body)), String(opcode)).to.equal('OK')
    }
    expect(volume.readAt(ino, 0, 10).toString()).to.equal('BEFORE')
  })

  it('pages are kept over opens; a later worker has those of each inode dropped once', async () => {
    const { kernel, volume } = await start()
    const { ino } = await kernel.create(1, 'file')
    const flagsOf = async (of: FakeKernel): Promise<number> => (await of.ask({ opcode: fuse.FUSE_OPEN, nodeid: ino }, u32(0, 0))).payload.readUInt32LE(8) & fuse.FOPEN_KEEP_CACHE
    expect([await flagsOf(kernel), await flagsOf(kernel)]).to.deep.equal([fuse.FOPEN_KEEP_CACHE, fuse.FOPEN_KEEP_CACHE])
    const successor = new FakeKernel(volume, { generation: 3, negotiated: { minor: 45, flags: String(wantedFlags), maxReadahead: 0 } })
    expect([await flagsOf(successor), await flagsOf(successor)]).to.deep.equal([0, fuse.FOPEN_KEEP_CACHE])
  })

  it('the kernel need not tell of the closing of a file that is only read', async () => {
    const { kernel } = await start()
    const { ino } = await kernel.create(1, 'file')
    const noFlush = async (flags: number): Promise<boolean> => ((await kernel.ask({ opcode: fuse.FUSE_OPEN, nodeid: ino }, u32(flags, 0))).payload.readUInt32LE(8) & fuse.FOPEN_NOFLUSH) !== 0
    expect([await noFlush(constants.O_RDONLY), await noFlush(constants.O_WRONLY), await noFlush(constants.O_RDWR)]).to.deep.equal([true, false, false])
  })

  it('nor of one that is written, where the client says that there is nothing to wait for', async () => {
    const { kernel, volume } = await start()
    const { ino } = await kernel.create(1, 'file')
    const open = volume.open.bind(volume)
    volume.open = async (which, options) => Object.assign(await open(which, options), { closeUnheard: () => true })
    const opened = await kernel.ask({ opcode: fuse.FUSE_OPEN, nodeid: ino }, u32(constants.O_WRONLY, 0))
    expect(opened.payload.readUInt32LE(8) & fuse.FOPEN_NOFLUSH).to.equal(fuse.FOPEN_NOFLUSH)
  })

  it('a write that an earlier worker lost fails the next flush, fsync or write of each descriptor of that time, once', async () => {
    const { volume } = await start()
    const { ino } = await new FakeKernel(volume).create(1, 'file')
    const kernel = new FakeKernel(volume, { generation: 2, negotiated: { minor: 45, flags: '0', maxReadahead: 0 }, lostWrites: new Map([[ino, { failure: posixError('ENOSPC'), generation: 2 }]]) })
    const flush = (fh: number, of = ino): Promise<KernelReply> => kernel.ask({ opcode: fuse.FUSE_FLUSH, nodeid: of }, u64(fh, 0, 0))
    const fsync = (fh: number): Promise<KernelReply> => kernel.ask({ opcode: fuse.FUSE_FSYNC, nodeid: ino }, u64(fh), u32(0, 0))
    const write = (fh: number): Promise<KernelReply> => kernel.ask({ opcode: fuse.FUSE_WRITE, nodeid: ino }, Buffer.concat([u64(fh, 0), u32(1, 0), u64(0), u32(constants.O_WRONLY, 0), Buffer.from('x')]))
    const opened = (await kernel.ask({ opcode: fuse.FUSE_OPEN, nodeid: ino }, u32(constants.O_WRONLY, 0))).payload.readUInt32LE(4) * 2 ** 32 + 1
    const told: string[] = []
    for (const [ask, fh] of [[write, opened], [fsync, opened], [flush, 1], [write, 2], [fsync, 2 ** 32 + 1], [flush, 2 ** 32 + 1]] as const) told.push(nameOf(await ask(fh)), nameOf(await ask(fh)))
    expect(told).to.deep.equal(['OK', 'OK', 'OK', 'OK', 'ENOSPC', 'OK', 'ENOSPC', 'OK', 'ENOSPC', 'OK', 'OK', 'OK'])
    expect(nameOf(await flush(1, ino + 1))).to.equal('OK')
  })

  it('what is lost after a flush is told at the next one, though nothing was written in between', async () => {
    const { kernel, volume } = await start()
    const { ino } = await kernel.create(1, 'file')
    const open = volume.open.bind(volume)
    let lost = false
    volume.open = async (which, options) => Object.assign(await open(which, options), { flush: async () => {
      if (lost) throw posixError('EIO')
    } })
    const fh = (await kernel.ask({ opcode: fuse.FUSE_OPEN, nodeid: ino }, u32(constants.O_WRONLY, 0))).payload.readUInt32LE(0)
    await kernel.write(ino, fh, 0, Buffer.from('x'))
    const flush = (): Promise<KernelReply> => kernel.ask({ opcode: fuse.FUSE_FLUSH, nodeid: ino }, u64(fh, 0, 0))
    expect(nameOf(await flush())).to.equal('OK')
    lost = true
    expect(nameOf(await flush())).to.equal('EIO')
  })

  it('an open that nobody waits for any more is released', async () => {
    const { kernel, volume } = await start()
    const { ino } = await kernel.create(1, 'file')
    let released = 0
    const open = volume.open.bind(volume)
    volume.open = async (which, options) => Object.assign(await open(which, options), { release: async () => { released++ } })
    kernel.deaf = true
    kernel.deliver(requestBytes({ opcode: fuse.FUSE_OPEN, nodeid: ino, unique: 900n }, u32(0, 0)))
    await settle()
    expect(released).to.equal(1)
  })

  it('lseek: a file is data to its end; fallocate extends, keeps, zeroes, or says that it cannot', async () => {
    const { kernel, volume } = await start()
    const { ino, fh } = await kernel.create(1, 'file')
    await kernel.write(ino, fh, 0, Buffer.from('0123456789'))
    const seek = async (offset: number, whence: number): Promise<unknown> => {
      const { errno, payload } = await kernel.ask({ opcode: fuse.FUSE_LSEEK, nodeid: ino }, u64(fh, offset), u32(whence, 0))
      return errno === 0 ? Number(payload.readBigUInt64LE(0)) : errnoName(errno)
    }
    expect([await seek(3, 3), await seek(3, 4), await seek(10, 3), await seek(-1, 3)]).to.deep.equal([3, 10, 'ENXIO', 'ENXIO'])
    const allocate = async (mode: number, offset: number, length: number): Promise<string> => nameOf(await kernel.ask({ opcode: fuse.FUSE_FALLOCATE, nodeid: ino }, u64(fh, offset, length), u32(mode, 0)))
    expect(await allocate(1, 0, 1000)).to.equal('OK')
    expect((await volume.getattr(ino)).size).to.equal(10)
    expect(await allocate(3, 2, 3)).to.equal('OK')
    expect(await allocate(0, 0, 20)).to.equal('OK')
    expect(volume.readAt(ino, 0, 100).toString('latin1')).to.equal('01\0\0\x0056789' + '\0'.repeat(10))
    expect(await allocate(16, 18, 4)).to.equal('OK')
    expect((await volume.getattr(ino)).size).to.equal(22)
    expect([await allocate(2, 0, 1), await allocate(8, 0, 1), await allocate(16, 0, 2 ** 40)]).to.deep.equal(['EOPNOTSUPP', 'EOPNOTSUPP', 'EOPNOTSUPP'])
  })
})

describe('fuse dispatcher: attributes', () => {
  it('setuid goes, and setgid where the group may execute: on a change of owner, and on what the kernel marks', async () => {
    expect([0o6755, 0o6745, 0o0644].map(withoutPrivileges)).to.deep.equal([0o0755, 0o2745, 0o0644])
    const { kernel, volume } = await start()
    const { ino, fh } = await kernel.create(1, 'file', 2, 0o106755)
    const caller = { uid: 0, gid: 0 }
    await volume.setxattr(ino, 'security.capability', Buffer.from('x'), 0, caller)
    const chown = await kernel.ask({ opcode: fuse.FUSE_SETATTR, nodeid: ino }, u32(fuse.FATTR_UID, 0), u64(0, 0, 0, 0, 0, 0), u32(0, 0, 0, 0, 0, 5, 0, 0))
    expect([modeIn(chown.payload, 16), chown.payload.readUInt32LE(16 + 68)]).to.deep.equal([0o100755, 5])
    expect(await volume.listxattr(ino)).to.deep.equal([])
    await volume.setattr(ino, { mode: 0o6755 }, caller)
    await kernel.write(ino, fh, 0, Buffer.from('x'))
    expect((await volume.getattr(ino)).mode).to.equal(0o106755)
    await kernel.write(ino, fh, 0, Buffer.from('x'), { writeFlags: fuse.FUSE_WRITE_KILL_SUIDGID })
    expect((await volume.getattr(ino)).mode).to.equal(0o100755)
    expect(kernel.notifications.map((message) => Number(message.readBigInt64LE(24))), 'the kernel fetches the mode anew').to.deep.equal([-1])
    const name = 'security.capability'
    await kernel.ask({ opcode: fuse.FUSE_SETXATTR, nodeid: ino }, u32(1, 0, 0, 0), text(name), Buffer.from('x'))
    expect(await volume.listxattr(ino)).to.deep.equal([name])
    let asked = 0
    const getxattr = volume.getxattr.bind(volume)
    volume.getxattr = async (...all) => { asked++; return await getxattr(...all) }
    for (let count = 0; count < 3; count++) await kernel.write(ino, fh, 0, Buffer.from('x'), { writeFlags: fuse.FUSE_WRITE_KILL_SUIDGID })
    expect(await volume.listxattr(ino)).to.deep.equal([])
    expect(asked).to.equal(1)
  })

  it('what was written is flushed before a time is set, so that the time stays', async () => {
    const { kernel, volume } = await start()
    const { ino } = await kernel.create(1, 'file')
    const order: string[] = []
    const open = volume.open.bind(volume)
    volume.open = async (which, options) => Object.assign(await open(which, options), { flush: async () => { order.push('flush') } })
    const setattr = volume.setattr.bind(volume)
    volume.setattr = async (...all) => { order.push('setattr'); return await setattr(...all) }
    const fh = Number((await kernel.ask({ opcode: fuse.FUSE_OPEN, nodeid: ino }, u32(1, 0))).payload.readBigUInt64LE(0))
    await kernel.write(ino, fh, 0, Buffer.from('x'))
    const reply = await kernel.ask({ opcode: fuse.FUSE_SETATTR, nodeid: ino }, u32(fuse.FATTR_MTIME, 0), u64(0, 0, 0, 0, 12, 0), u32(0, 34, 0, 0, 0, 0, 0, 0))
    expect(order).to.deep.equal(['flush', 'setattr'])
    expect([Number(reply.payload.readBigUInt64LE(16 + 32)), reply.payload.readUInt32LE(16 + 52)]).to.deep.equal([12, 34])
  })

  it('extended attributes: sizes, ERANGE, flags, and prefixes that are refused', async () => {
    const { kernel } = await start()
    const set = async (name: string, value: string, flags = 0): Promise<string> => nameOf(await kernel.ask({ opcode: fuse.FUSE_SETXATTR }, u32(value.length, flags, 0, 0), text(name), Buffer.from(value)))
    const get = (name: string, size: number): Promise<KernelReply> => kernel.ask({ opcode: fuse.FUSE_GETXATTR }, u32(size, 0), text(name))
    expect([await set('user.a', 'value'), await set('user.a', 'v', 1), await set('user.b', 'v', 2), await set('system.posix_acl_access', 'v')]).to.deep.equal(['OK', 'EEXIST', 'ENODATA', 'EOPNOTSUPP'])
    expect((await get('user.a', 0)).payload.readUInt32LE(0)).to.equal(5)
    expect((await get('user.a', 5)).payload.toString()).to.equal('value')
    expect([nameOf(await get('user.a', 4)), nameOf(await get('user.none', 0)), nameOf(await get('system.posix_acl_access', 0))]).to.deep.equal(['ERANGE', 'ENODATA', 'EOPNOTSUPP'])
    const list = (size: number): Promise<KernelReply> => kernel.ask({ opcode: fuse.FUSE_LISTXATTR }, u32(size, 0))
    expect((await list(0)).payload.readUInt32LE(0)).to.equal(7)
    expect((await list(100)).payload.toString()).to.equal('user.a\0')
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_REMOVEXATTR }, text('user.a')))).to.equal('OK')
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_REMOVEXATTR }, text('user.a')))).to.equal('ENODATA')
  })
})

describe('fuse dispatcher: the rest', () => {
  it('an unlinked file stays readable until it is forgotten, and an open one is not forgotten', async () => {
    const { kernel, volume } = await start()
    const { ino, fh } = await kernel.create(1, 'file')
    await kernel.write(ino, fh, 0, Buffer.from('still here'))
    await kernel.ask({ opcode: fuse.FUSE_UNLINK }, text('file'))
    kernel.deliver(requestBytes({ opcode: fuse.FUSE_FORGET, nodeid: ino, unique: 0n }, u64(1)))
    expect((await kernel.read(ino, fh, 0, 100)).payload.toString()).to.equal('still here')
    await kernel.ask({ opcode: fuse.FUSE_RELEASE, nodeid: ino }, u64(fh), u32(0, 0), u64(0))
    expect(volume.inodes.has(ino)).to.equal(true)
    kernel.deliver(requestBytes({ opcode: fuse.FUSE_BATCH_FORGET, nodeid: 0, unique: 0n }, u32(1, 0), u64(ino, 2)))
    expect(volume.inodes.has(ino)).to.equal(false)
    expect([...kernel.replies.keys()], 'no answer to a FORGET').not.to.include(0n)
  })

  it('an unknown opcode is ENOSYS, a malformed request EINVAL, an unexpected failure EIO, a bad header EIO', async () => {
    const { kernel, volume } = await start()
    expect(nameOf(await kernel.ask({ opcode: 47 }, Buffer.alloc(56)))).to.equal('ENOSYS')
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_READ }, u64(1)))).to.equal('EINVAL')
    volume.statfs = () => Promise.reject(new TypeError('oops'))
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_STATFS }))).to.equal('EIO')
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_STATFS, nodeid: 2n ** 63n }))).to.equal('EIO')
    for (const length of [0, 1, 39]) expect(() => kernel.deliver(Buffer.alloc(length))).not.to.throw()
  })

  it('statfs, syncfs, fsyncdir and destroy are answered', async () => {
    const { kernel } = await start()
    expect((await kernel.ask({ opcode: fuse.FUSE_STATFS })).payload.length).to.equal(80)
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_SYNCFS }, u64(0)))).to.equal('OK')
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_FSYNCDIR }, u64(0), u32(0, 0)))).to.equal('OK')
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_DESTROY }))).to.equal('OK')
  })

  it('an interrupted operation that changes nothing is let go after a grace, one that changes something never', async () => {
    const { kernel, volume } = await start()
    const { wait, open } = gate()
    const getattrOf = volume.getattr.bind(volume)
    const mkdirOf = volume.mkdir.bind(volume)
    volume.getattr = async (ino) => { await wait; return await getattrOf(ino) }
    volume.mkdir = async (...all) => { await wait; return await mkdirOf(...all) }
    const reading = kernel.nextUnique()
    const making = kernel.nextUnique()
    const stat = kernel.ask({ opcode: fuse.FUSE_GETATTR, unique: reading }, u32(0, 0), u64(0))
    const mkdir = kernel.ask({ opcode: fuse.FUSE_MKDIR, unique: making }, u32(0o755, 0), text('dir'))
    for (const unique of [reading, making, 123456n]) kernel.deliver(requestBytes({ opcode: fuse.FUSE_INTERRUPT, nodeid: 0, unique: unique | 1n }, u64(unique)))
    await kernel.clock.advance(interruptGraceMs - 1)
    expect(kernel.replies.has(reading)).to.equal(false)
    await kernel.clock.advance(1)
    expect(nameOf(await stat)).to.equal('EINTR')
    expect(kernel.replies.has(making)).to.equal(false)
    open()
    expect(nameOf(await mkdir)).to.equal('OK')
    await kernel.dispatcher.drained()
  })

  it('INIT is answered once and its outcome kept; one that cannot be understood ends the mount', async () => {
    const volume = new MemoryVolume({ clock: new SimClock() })
    const kept: unknown[] = []
    const kernel = new FakeKernel(volume, { onNegotiated: (negotiated) => { kept.push(negotiated) } })
    expect((await kernel.init()).payload.length).to.equal(64)
    expect(kept).to.deep.equal([{ minor: 45, flags: String(wantedFlags), maxReadahead: 131072 }])
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_INIT, nodeid: 0 }, u32(6, 1, 0, 0)))).to.equal('EPROTO')
    expect(nameOf(await kernel.ask({ opcode: fuse.FUSE_INIT, nodeid: 0 }, u32(6)))).to.equal('EPROTO')
  })

  it('a volume whose root has another number is node 1 all the same', async () => {
    const volume = new MemoryVolume({ clock: new SimClock() })
    await volume.mknod(1, 'file', 0o100644, 0, root)
    const moved = new Proxy(volume, {
      get (target, name, receiver) {
        if (name === 'root') return 4242
        const value = Reflect.get(target, name, receiver) as unknown
        return typeof value === 'function' ? (...all: unknown[]) => value.apply(target, all.map((one) => one === 4242 ? 1 : one)) as unknown : value
      },
      set: (target, name, value) => Reflect.set(target, name, value, target)
    })
    const kernel = new FakeKernel(moved)
    await kernel.init()
    expect(nameOf(await lookup(kernel, 1, 'file'))).to.equal('OK')
    await volume.onInvalidate!({ ino: 4242, what: 'attributes' })
    expect(Number(kernel.notifications[0]!.readBigUInt64LE(16))).to.equal(1)
  })
})
