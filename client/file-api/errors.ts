import { constants } from 'node:os'
import { getSystemErrorMap } from 'node:util'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { coded } from './arguments.ts'

/** As Node's own file-system errors: `code`, `errno` (negative), `syscall`, and where there are paths `path`, `dest`. */
export interface FileSystemError extends Error {
  code: string
  errno: number
  syscall: string
  path?: string
  dest?: string
}

const descriptions = new Map(getSystemErrorMap().values())

/** Runs one call: where the volume refuses, the error is that of the call. Anything else passes through. */
export async function inSyscall<T> (syscall: string, path: string | undefined, work: () => Promise<T>, dest?: string): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw error instanceof AtollError ? fileSystemError(error, syscall, path, dest) : error
  }
}

export function hasCode (error: unknown, ...codes: string[]): boolean {
  return codes.includes((error as { code?: string }).code!)
}

/** What `rm` and `cp` throw for whole trees: a code of Node's, and the POSIX error in `info`. */
export function treeError (code: string, posix: 'EISDIR' | 'EINVAL' | 'ENOTDIR' | 'EEXIST', syscall: string, path: string, message: string): Error {
  const info = { code: posix, message, path, syscall, errno: constants.errno[posix] }
  const error = new Error(`${message}: ${syscall} returned ${posix} (${message}) ${path}`)
  error.name = 'SystemError'
  return Object.assign(coded(error, code), { info, errno: info.errno, syscall, path })
}

function fileSystemError (cause: AtollError, syscall: string, path?: string, dest?: string): FileSystemError {
  const { code } = cause
  const text = descriptions.get(code) ?? cause.message
  const where = path === undefined ? '' : ` '${path}'${dest === undefined ? '' : ` -> '${dest}'`}`
  // A failure of the cluster itself has no number of its own: programs see an I/O error, people the code.
  const number = (constants.errno as Record<string, number>)[code] ?? constants.errno.EIO
  const error = Object.assign(new Error(`${code}: ${text}, ${syscall}${where}`, { cause }), { errno: -number, code, syscall })
  return Object.assign(error, path === undefined ? {} : { path }, dest === undefined ? {} : { dest })
}
