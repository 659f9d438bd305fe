import { constants } from 'node:fs'
import { posixError } from '../../../fsnode/protocol/errors.ts'
import { parseFallocate } from '../../protocol/arguments.ts'
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE } from '../../protocol/constants.ts'
import { callerOf, inoOf, type Handler } from '../context.ts'
import type { FileHandle } from '../file-handles.ts'

/** Punched and zeroed ranges are written as zeros, so greater ones are refused with EOPNOTSUPP. Bytes. */
export const zeroedRangeBytesMax = 256 * 1024 * 1024
const zeros = Buffer.alloc(1 << 20)

/** Space is not reserved: there is none of a file's own. Only the size and the content change. */
export const fallocate: Handler = async (context, request, reply) => {
  const { fh, offset, length, mode } = parseFallocate(request)
  const ino = inoOf(context, request.nodeid)
  const keepSize = (mode & FALLOC_FL_KEEP_SIZE) !== 0
  const kind = mode & ~FALLOC_FL_KEEP_SIZE
  if (kind !== 0 && kind !== FALLOC_FL_ZERO_RANGE && !(kind === FALLOC_FL_PUNCH_HOLE && keepSize)) throw posixError('EOPNOTSUPP', `fallocate mode ${mode}`)
  const handle = await context.files.get(fh, ino, constants.O_RDWR)
  const { size } = await context.client.getattr(ino)
  const end = offset + length
  if (kind !== 0) await writeZeros(handle, offset, keepSize ? Math.min(end, size) : end)
  else if (!keepSize && end > size) await context.client.setattr(ino, { size: end }, callerOf(request))
  reply.empty()
}

async function writeZeros (handle: FileHandle, from: number, to: number): Promise<void> {
  if (to - from > zeroedRangeBytesMax) throw posixError('EOPNOTSUPP', `a range of ${to - from} bytes`)
  for (let offset = from; offset < to; offset += zeros.length) {
    handle.dirty = true
    await handle.file.write(offset, [zeros.subarray(0, Math.min(zeros.length, to - offset))])
  }
}
