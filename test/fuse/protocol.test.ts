import { expect } from 'chai'
import fc from 'fast-check'
import * as args from '../../fuse/protocol/arguments.ts'
import { putTime, readTime, wordsOf } from '../../fuse/protocol/bytes.ts'
import * as fuse from '../../fuse/protocol/constants.ts'
import { DirentPacker } from '../../fuse/protocol/directory.ts'
import { encodeInitOut, hasEpochs, hasFlag, negotiate, parseInit, wantedFlags } from '../../fuse/protocol/init.ts'
import { incrementEpoch, invalidateAttributes, invalidateContent, invalidateEntry, resend } from '../../fuse/protocol/notify.ts'
import { encodeAttrOut, encodeEntryOut, encodeNegativeEntry, encodeOpenOut, encodeOutHeader, encodeStatfsOut } from '../../fuse/protocol/reply.ts'
import { isResent, MalformedRequest, operationIdOf, parseHeader, type Request } from '../../fuse/protocol/request.ts'
import { listedEntries, requestBytes, text, u32, u64 } from './fake-kernel.ts'

const hex = (bytes: Buffer): string => bytes.toString('hex')
const parse = (bytes: Buffer): Request => parseHeader(bytes, bytes.length)

const attr = {
  ino: 0x1122334455, mode: 0o100644, nlink: 3, uid: 1000, gid: 100, rdev: 0x0102, size: 1025, extent: 0, isInline: true,
  atime: 1_700_000_000_000_000_001n, mtime: -1n, ctime: 5_000_000_000n, version: 9
}
const attrHex =
  '5544332211000000' + '0104000000000000' + '0300000000000000' + // ino, size, blocks
  '00f1536500000000' + 'ffffffffffffffff' + '0500000000000000' + // seconds
  '01000000' + 'ffc99a3b' + '00000000' + // nanoseconds
  'a4810000' + '03000000' + 'e8030000' + '64000000' + '02010000' + '00001000' + '00000000'

/** One well-formed request of each shape, with the parser that takes it. */
const shapes: { name: string, opcode: number, body: Buffer[], parse: (request: Request) => unknown }[] = [
  { name: 'LOOKUP', opcode: fuse.FUSE_LOOKUP, body: [text('name')], parse: args.parseName },
  { name: 'FORGET', opcode: fuse.FUSE_FORGET, body: [u64(3)], parse: args.parseForget },
  { name: 'BATCH_FORGET', opcode: fuse.FUSE_BATCH_FORGET, body: [u32(2, 0), u64(5, 1, 6, 2)], parse: (request) => { args.parseBatchForget(request, () => {}) } },
  { name: 'GETATTR', opcode: fuse.FUSE_GETATTR, body: [u32(1, 0), u64(9)], parse: args.parseGetattr },
  { name: 'SETATTR', opcode: fuse.FUSE_SETATTR, body: [u32(0xfff, 0), u64(1, 2, 3, 4, 5, 6), u32(7, 8, 9, 0o600, 0, 1, 2, 0), Buffer.alloc(0)], parse: args.parseSetattr },
  { name: 'SYMLINK', opcode: fuse.FUSE_SYMLINK, body: [text('name', '../target')], parse: args.parseSymlink },
  { name: 'MKNOD', opcode: fuse.FUSE_MKNOD, body: [u32(0o100600, 0, 0o22, 0), text('name')], parse: args.parseMknod },
  { name: 'MKDIR', opcode: fuse.FUSE_MKDIR, body: [u32(0o700, 0o22), text('name')], parse: args.parseMkdir },
  { name: 'RENAME', opcode: fuse.FUSE_RENAME, body: [u64(7), text('old', 'new')], parse: args.parseRename },
  { name: 'RENAME2', opcode: fuse.FUSE_RENAME2, body: [u64(7), u32(2, 0), text('old', 'new')], parse: args.parseRename2 },
  { name: 'LINK', opcode: fuse.FUSE_LINK, body: [u64(7), text('name')], parse: args.parseLink },
  { name: 'OPEN', opcode: fuse.FUSE_OPEN, body: [u32(2, 1)], parse: args.parseOpen },
  { name: 'CREATE', opcode: fuse.FUSE_CREATE, body: [u32(2, 0o100644, 0o22, 0), text('name')], parse: args.parseCreate },
  { name: 'READ', opcode: fuse.FUSE_READ, body: [u64(1, 4096), u32(512, 0), u64(0), u32(0, 0)], parse: args.parseRead },
  { name: 'WRITE', opcode: fuse.FUSE_WRITE, body: [u64(1, 4096), u32(5, 1), u64(0), u32(2, 0), Buffer.from('hello')], parse: args.parseWrite },
  { name: 'RELEASE', opcode: fuse.FUSE_RELEASE, body: [u64(1), u32(0, 0), u64(0)], parse: args.parseRelease },
  { name: 'FSYNC', opcode: fuse.FUSE_FSYNC, body: [u64(1), u32(1, 0)], parse: args.parseFsync },
  { name: 'SETXATTR', opcode: fuse.FUSE_SETXATTR, body: [u32(5, 1, 0, 0), text('user.a'), Buffer.from('value')], parse: (request) => args.parseSetxattr(request, true) },
  { name: 'GETXATTR', opcode: fuse.FUSE_GETXATTR, body: [u32(64, 0), text('user.a')], parse: args.parseGetxattr },
  { name: 'LISTXATTR', opcode: fuse.FUSE_LISTXATTR, body: [u32(64, 0)], parse: args.parseListxattr },
  { name: 'REMOVEXATTR', opcode: fuse.FUSE_REMOVEXATTR, body: [text('user.a')], parse: args.parseXattrName },
  { name: 'INTERRUPT', opcode: fuse.FUSE_INTERRUPT, body: [u64(4)], parse: args.parseInterrupt },
  { name: 'FALLOCATE', opcode: fuse.FUSE_FALLOCATE, body: [u64(1, 0, 4096), u32(1, 0)], parse: args.parseFallocate },
  { name: 'LSEEK', opcode: fuse.FUSE_LSEEK, body: [u64(1, 10), u32(3, 0)], parse: args.parseLseek },
  { name: 'INIT', opcode: fuse.FUSE_INIT, body: [u32(7, 45, 131072, 0)], parse: parseInit }
]

describe('fuse protocol: requests', () => {
  it('reads a LOOKUP from its golden bytes', () => {
    const bytes = Buffer.from(
      '2d000000' + '01000000' + // len 45, opcode LOOKUP
      '0c00000000000000' + '0700000000000000' + // unique 12, nodeid 7
      'e8030000' + '64000000' + 'e1100000' + '0000' + '0000' + // uid, gid, pid, extlen
      '66696c6500', 'hex') // "file"
    const request = parse(bytes)
    expect(request).to.include({ opcode: fuse.FUSE_LOOKUP, uniqueLow: 12, uniqueHigh: 0, nodeid: 7, uid: 1000, gid: 100, pid: 4321 })
    expect(args.parseName(request)).to.equal('file')
  })

  it('a WRITE\'s data is a slice of the buffer that was read', () => {
    const bytes = requestBytes({ opcode: fuse.FUSE_WRITE }, ...shapes.find(({ name }) => name === 'WRITE')!.body)
    const { data, offset, fh, writeFlags, flags } = args.parseWrite(parse(bytes))
    expect({ offset, fh, writeFlags, flags, data: data.toString() }).to.deep.equal({ offset: 4096, fh: 1, writeFlags: 1, flags: 2, data: 'hello' })
    bytes.write('J', 80)
    expect(data.toString()).to.equal('Jello')
  })

  it('a SETATTR carries only what its valid bits name, NOW before a time', () => {
    const body = [u32(fuse.FATTR_SIZE | fuse.FATTR_ATIME | fuse.FATTR_MTIME | fuse.FATTR_MTIME_NOW, 0), u64(1, 77, 0, -2n, 6, 0), u32(999, 8, 9, 0o600, 0, 1, 2, 0)]
    const parsed = args.parseSetattr(parse(requestBytes({ opcode: fuse.FUSE_SETATTR }, ...body)))
    expect(parsed).to.deep.equal({ valid: 0x138, fh: null, size: 77, atime: -2_000_000_000n + 999n, mtime: 'now', killSuidgid: false })
  })

  it('a CREATE is read without its extensions', () => {
    const bytes = requestBytes({ opcode: fuse.FUSE_CREATE, extensions: u32(16, 32, 1, 5) }, u32(0o301, 0o100644, 0, 0), text('name'))
    const request = parse(bytes)
    expect(request.end).to.equal(bytes.length - 16)
    expect(args.parseCreate(request)).to.deep.equal({ flags: 0o301, mode: 0o100644, umask: 0, openFlags: 0, name: 'name' })
  })

  it('the operation id is the same for a request and its resent twin', () => {
    const first = parse(requestBytes({ opcode: fuse.FUSE_MKDIR, unique: 0x1_0000_000cn }, u32(0, 0), text('a')))
    const again = parse(requestBytes({ opcode: fuse.FUSE_MKDIR, unique: 0x8000_0001_0000_000cn }, u32(0, 0), text('a')))
    expect([isResent(first), isResent(again)]).to.deep.equal([false, true])
    expect(operationIdOf(first)).to.equal(0x1_0000_000c * 4).and.to.equal(operationIdOf(again))
    expect(operationIdOf(first, 3)).to.equal(operationIdOf(first) + 3)
  })

  for (const { name, opcode, body, parse: parseArguments } of shapes) {
    it(`${name}: every shorter message is refused, never read beyond its end`, () => {
      const whole = requestBytes({ opcode }, ...body)
      expect(() => parseArguments(parse(whole))).not.to.throw()
      for (let length = 40; length < whole.length; length++) {
        // The rest of the buffer is there, as in a reused one: it must not be looked at.
        const buffer = Buffer.concat([whole.subarray(0, length), Buffer.alloc(200, 0x61)])
        buffer.writeUInt32LE(length, 0)
        expect(() => parseArguments(parseHeader(buffer, length)), `${length} bytes`).to.throw(MalformedRequest)
      }
    })
  }

  it('any bytes give a request or a refusal with a code', () => {
    fc.assert(fc.property(fc.uint8Array({ minLength: 0, maxLength: 200 }), fc.nat(shapes.length - 1), (noise, index) => {
      const body = Buffer.from(noise)
      for (const bytes of [body, requestBytes({ opcode: shapes[index]!.opcode }, body)]) {
        try {
          shapes[index]!.parse(parse(bytes))
        } catch (error) {
          if (typeof (error as { code?: unknown }).code !== 'string' || error instanceof RangeError) throw error
        }
      }
    }), { numRuns: 2000 })
  })

  it('names: 255 bytes pass, 256 do not, and neither do slashes, dots, nothing, and what is not UTF-8', () => {
    const code = (name: Buffer): string => {
      try {
        args.parseName(parse(requestBytes({ opcode: fuse.FUSE_LOOKUP }, name, Buffer.from([0]))))
        return 'ok'
      } catch (error) {
        return (error as { code: string }).code
      }
    }
    expect(code(Buffer.from('\u00e4'.repeat(127) + 'x'))).to.equal('ok')
    expect(code(Buffer.from('x'.repeat(256)))).to.equal('ENAMETOOLONG')
    for (const bad of ['', '.', '..', 'a/b']) expect(code(Buffer.from(bad)), bad).to.equal('EINVAL')
    expect(code(Buffer.from([0x61, 0xff]))).to.equal('EILSEQ')
    expect(code(Buffer.from('a\ufffdb'))).to.equal('ok')
  })

  it('numbers beyond the safe integers are refused', () => {
    const body = [u64(1, 2n ** 53n), u32(512, 0), u64(0), u32(0, 0)]
    expect(() => args.parseRead(parse(requestBytes({ opcode: fuse.FUSE_READ }, ...body)))).to.throw().with.property('code', 'EFBIG')
    expect(() => parse(requestBytes({ opcode: fuse.FUSE_GETATTR, nodeid: 2n ** 60n }, u32(0, 0), u64(0)))).to.throw(MalformedRequest)
  })
})

describe('fuse protocol: replies', () => {
  const timeouts = { entrySeconds: 3600, attrSeconds: 60 }

  it('out header', () => {
    const bytes = Buffer.alloc(16)
    encodeOutHeader(wordsOf(bytes), 16, -2, 12, 0x80000000)
    expect(hex(bytes)).to.equal('10000000' + 'feffffff' + '0c00000000000080')
  })

  it('entry_out and attr_out', () => {
    const entry = Buffer.alloc(128, 0xff)
    expect(encodeEntryOut(wordsOf(entry), 0, attr, timeouts)).to.equal(128)
    expect(hex(entry)).to.equal('5544332211000000' + '0000000000000000' + '100e000000000000' + '3c00000000000000' + '00000000' + '00000000' + attrHex)
    const out = Buffer.alloc(104, 0xff)
    expect(encodeAttrOut(wordsOf(out), 0, attr, timeouts)).to.equal(104)
    expect(hex(out)).to.equal('3c00000000000000' + '00000000' + '00000000' + attrHex)
  })

  it('a name that is absent is node 0 with a timeout', () => {
    const entry = Buffer.alloc(128, 0xff)
    encodeNegativeEntry(wordsOf(entry), 0, timeouts)
    expect(hex(entry)).to.equal('00'.repeat(16) + '100e000000000000' + '00'.repeat(104))
  })

  it('open_out and statfs_out', () => {
    const open = Buffer.alloc(16, 0xff)
    encodeOpenOut(wordsOf(open), 0, 2 ** 32 + 5, fuse.FOPEN_KEEP_CACHE)
    expect(hex(open)).to.equal('0500000001000000' + '02000000' + '00000000')
    const statfs = Buffer.alloc(80, 0xff)
    encodeStatfsOut(wordsOf(statfs), 0, { blocks: 10, blocksFree: 9, blocksAvailable: 8, files: 7, filesFree: 6, blockSize: 4096, nameLengthMax: 255 })
    expect(hex(statfs)).to.equal('0a00000000000000' + '0900000000000000' + '0800000000000000' + '0700000000000000' + '0600000000000000' + '00100000' + 'ff000000' + '00100000' + '00'.repeat(28))
  })

  it('times survive, those before 1970 too', () => {
    fc.assert(fc.property(fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n }), (ns) => {
      const bytes = Buffer.alloc(12)
      putTime(wordsOf(bytes), ns, 0, 8)
      return readTime(bytes, 0, 8) === ns && bytes.readUInt32LE(8) < 1e9
    }))
  })

  it('notifications', () => {
    expect(hex(invalidateContent(7))).to.equal('28000000' + '02000000' + '00'.repeat(8) + '0700000000000000' + '00'.repeat(16))
    expect(hex(invalidateAttributes(7))).to.equal('28000000' + '02000000' + '00'.repeat(8) + '0700000000000000' + 'ff'.repeat(8) + '00'.repeat(8))
    expect(hex(invalidateEntry(7, 'ab'))).to.equal('23000000' + '03000000' + '00'.repeat(8) + '0700000000000000' + '02000000' + '00000000' + '616200')
    expect(hex(incrementEpoch())).to.equal('10000000' + '08000000' + '00'.repeat(8))
    expect(hex(resend())).to.equal('10000000' + '07000000' + '00'.repeat(8))
  })

  it('a dirent is padded to 8 bytes', () => {
    const packer = new DirentPacker(Buffer.alloc(4096), false, timeouts)
    packer.add({ name: 'abc', ino: 5, type: 0o100000, cookie: 3 })
    expect(hex(packer.packed())).to.equal('0500000000000000' + '0300000000000000' + '03000000' + '08000000' + '6162630000000000')
  })

  it('directory records fill at most the size asked for, whole ones only, and come back as they went in', () => {
    const names = fc.array(fc.string({ minLength: 1, maxLength: 60, unit: 'grapheme' }), { maxLength: 30 })
    fc.assert(fc.property(names, fc.integer({ min: 0, max: 4096 }), fc.boolean(), (all, size, plus) => {
      const packer = new DirentPacker(Buffer.alloc(size), plus, timeouts)
      const added = all.filter((name, index) => packer.add({ name, ino: index + 1, type: 0o040000, cookie: index + 1, ...(index % 2 === 0 ? { attr } : {}) }))
      const packed = packer.packed()
      expect(packed.length).to.be.at.most(size)
      const listed = listedEntries(packed, plus)
      expect(listed.map(({ name }) => name)).to.deep.equal(added)
      if (plus) for (const { cookie, nodeid } of listed) expect(nodeid).to.equal(cookie % 2 === 1 ? attr.ino : 0)
    }))
  })
})

describe('fuse protocol: INIT', () => {
  const allFlags = 0x73fffffbn | (0x5fdn << 32n)

  it('agrees on a subset of what is offered, in the older of both minors', () => {
    const outcome = negotiate({ major: 7, minor: 50, maxReadahead: 131072, flags: allFlags })
    if (outcome.outcome !== 'agreed') throw new Error(outcome.outcome)
    const { negotiated } = outcome
    expect(negotiated.minor).to.equal(45)
    expect(BigInt(negotiated.flags)).to.equal(wantedFlags & allFlags)
    for (const flag of [fuse.FUSE_WRITEBACK_CACHE, fuse.FUSE_AUTO_INVAL_DATA, fuse.FUSE_POSIX_LOCKS, fuse.FUSE_FLOCK_LOCKS]) expect(hasFlag(negotiated, flag)).to.equal(false)
    expect(hex(encodeInitOut(negotiated))).to.equal(
      '07000000' + '2d000000' + '00000200' + '29a0e472' + // 7.45, readahead, flags
      '8000' + '6000' + '00001000' + '01000000' + '0001' + '0000' + // background 128, congestion 96, max_write 1 MiB, time_gran, max_pages 256
      '90000000' + '00'.repeat(28)) // flags2: DIRECT_IO_ALLOW_MMAP, HAS_RESEND
  })

  it('a kernel before 7.44 has no epochs, one before 7.23 wants a shorter answer', () => {
    const old = negotiate({ major: 7, minor: 43, maxReadahead: 0, flags: 0n })
    const older = negotiate({ major: 7, minor: 22, maxReadahead: 0, flags: 0n })
    if (old.outcome !== 'agreed' || older.outcome !== 'agreed') throw new Error('not agreed')
    expect(hasEpochs(old.negotiated)).to.equal(false)
    expect(encodeInitOut(old.negotiated)).to.have.length(64)
    expect(encodeInitOut(older.negotiated)).to.have.length(24)
  })

  it('a newer major version is asked to come again, an older one is refused', () => {
    expect(negotiate({ major: 8, minor: 0, maxReadahead: 0, flags: 0n }).outcome).to.equal('retry')
    expect(negotiate({ major: 6, minor: 0, maxReadahead: 0, flags: 0n }).outcome).to.equal('refused')
  })
})
