import { closeSync, existsSync, openSync, rmSync, writeSync } from 'node:fs'
import { freemem, tmpdir } from 'node:os'
import { join } from 'node:path'
import { codeOf } from '../fsnode/protocol/errors.ts'

const pieceBytes = 1024 * 1024
/** Of the free memory at most: the rest is for what is measured. */
const memoryShareMax = 0.5

/**
 * Takes so much memory from the system and gives it back. The memory that a virtual machine has not used for a while is its host's: the next one who
 * touches it waits for the host, for a multiple of the time that a copy takes, which then would be what is measured.
 */
export function touchMemory (bytes: number): void {
  const path = join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), `atoll-touched-${process.pid}`)
  const piece = Buffer.alloc(pieceBytes, 1)
  const fd = openSync(path, 'w')
  try {
    for (let left = Math.min(bytes, freemem() * memoryShareMax); left > 0; left -= pieceBytes) writeSync(fd, piece)
  } catch (error) {
    if (codeOf(error) !== 'ENOSPC') throw error // as much as there may be
  } finally {
    closeSync(fd)
    rmSync(path)
  }
}
