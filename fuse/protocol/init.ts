import {
  FUSE_ABORT_ERROR, FUSE_ASYNC_DIO, FUSE_ASYNC_READ, FUSE_ATOMIC_O_TRUNC, FUSE_BIG_WRITES, FUSE_CACHE_SYMLINKS,
  FUSE_COMPAT_22_INIT_OUT_SIZE, FUSE_DIRECT_IO_ALLOW_MMAP, FUSE_DO_READDIRPLUS, FUSE_EXPLICIT_INVAL_DATA,
  FUSE_HANDLE_KILLPRIV_V2, FUSE_HAS_RESEND, FUSE_INC_EPOCH_MINOR, FUSE_INIT_EXT, FUSE_INIT_OUT_SIZE,
  FUSE_KERNEL_MINOR_VERSION, FUSE_KERNEL_VERSION, FUSE_MAX_PAGES, FUSE_PARALLEL_DIROPS, FUSE_SETXATTR_EXT,
  maxPages, maxWriteBytes
} from './constants.ts'
import { argumentsOf, type Request } from './request.ts'

export interface InitIn { major: number, minor: number, maxReadahead: number, flags: bigint }

export function parseInit (request: Request): InitIn {
  const at = argumentsOf(request, 16)
  const { buffer } = request
  let flags = BigInt(buffer.readUInt32LE(at + 12))
  if ((flags & FUSE_INIT_EXT) !== 0n && request.end - at >= 20) flags |= BigInt(buffer.readUInt32LE(at + 16)) << 32n
  return { major: buffer.readUInt32LE(at), minor: buffer.readUInt32LE(at + 4), maxReadahead: buffer.readUInt32LE(at + 8), flags }
}

/**
 * What this driver wants. Left out on purpose: WRITEBACK_CACHE (other mounts must see sizes and
 * times at once), AUTO_INVAL_DATA (content is dropped when its lease is recalled, not by a moved
 * mtime), POSIX_LOCKS and FLOCK_LOCKS (the kernel keeps locks local), POSIX_ACL.
 */
export const wantedFlags = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS | FUSE_ASYNC_DIO |
  FUSE_PARALLEL_DIROPS | FUSE_ABORT_ERROR | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_EXPLICIT_INVAL_DATA |
  FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_INIT_EXT | FUSE_DIRECT_IO_ALLOW_MMAP | FUSE_HAS_RESEND

/** Asynchronous requests (read-ahead, direct I/O) that the kernel keeps in flight; its default of 12 stalls parallel reads. */
export const maxBackground = 128
export const congestionThreshold = 96

/** What was agreed on in INIT. It comes once in a mount's life: a later worker gets it from the holder. */
export interface Negotiated {
  minor: number
  /** As decimal text, so that it travels in JSON. */
  flags: string
  maxReadahead: number
}

export function hasFlag (negotiated: Negotiated, flag: bigint): boolean {
  return (BigInt(negotiated.flags) & flag) !== 0n
}

export function hasEpochs (negotiated: Negotiated): boolean {
  return negotiated.minor >= FUSE_INC_EPOCH_MINOR
}

export type InitOutcome =
  | { outcome: 'agreed', negotiated: Negotiated }
  /** The kernel speaks a newer major version: it asks again in ours when it is told which one that is. */
  | { outcome: 'retry' }
  | { outcome: 'refused', reason: string }

export function negotiate (init: InitIn): InitOutcome {
  if (init.major > FUSE_KERNEL_VERSION) return { outcome: 'retry' }
  if (init.major < FUSE_KERNEL_VERSION) return { outcome: 'refused', reason: `the kernel speaks FUSE ${init.major}.${init.minor}` }
  return {
    outcome: 'agreed',
    negotiated: {
      minor: Math.min(init.minor, FUSE_KERNEL_MINOR_VERSION),
      flags: String(init.flags & wantedFlags),
      maxReadahead: init.maxReadahead
    }
  }
}

/** The bytes of fuse_init_out that answer `negotiated`. */
export function encodeInitOut (negotiated: Negotiated): Buffer {
  const flags = BigInt(negotiated.flags)
  const out = Buffer.alloc(FUSE_INIT_OUT_SIZE)
  out.writeUInt32LE(FUSE_KERNEL_VERSION, 0)
  out.writeUInt32LE(negotiated.minor, 4)
  out.writeUInt32LE(negotiated.maxReadahead, 8)
  out.writeUInt32LE(Number(flags & 0xffff_ffffn), 12)
  out.writeUInt16LE(maxBackground, 16)
  out.writeUInt16LE(congestionThreshold, 18)
  out.writeUInt32LE(maxWriteBytes, 20)
  out.writeUInt32LE(1, 24)
  out.writeUInt16LE((flags & FUSE_MAX_PAGES) === 0n ? 0 : maxPages, 28)
  out.writeUInt32LE(Number(flags >> 32n), 32)
  return negotiated.minor < 23 ? out.subarray(0, negotiated.minor < 5 ? 8 : FUSE_COMPAT_22_INIT_OUT_SIZE) : out
}

export function encodeInitRetry (): Buffer {
  const out = Buffer.alloc(FUSE_INIT_OUT_SIZE)
  out.writeUInt32LE(FUSE_KERNEL_VERSION, 0)
  out.writeUInt32LE(FUSE_KERNEL_MINOR_VERSION, 4)
  return out
}
