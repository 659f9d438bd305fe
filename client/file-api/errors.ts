import { constants } from 'node:os'
import { getSystemErrorMap } from 'node:util'
import { codeOf, messageOf } from '../../fsnode/protocol/errors.ts'

/** As Node's own file-system errors: `code`, `errno` (negative), `syscall`, `path`, `dest`. */
export interface FileSystemError extends Error {
  code: string
  errno: number
  syscall: string
  path?: string
  dest?: string
}

const descriptions = new Map([...getSystemErrorMap().values()].map(([name, text]) => [name, text]))

export function fileSystemError (cause: unknown, syscall: string, path?: string, dest?: string): FileSystemError {
  const code = codeOf(cause)
  const number = (constants.errno as Record<string, number>)[code]
  const text = descriptions.get(code) ?? messageOf(cause)
  const where = path === undefined ? '' : ` '${path}'${dest === undefined ? '' : ` -> '${dest}'`}`
  const error = new Error(`${code}: ${text}, ${syscall}${where}`, { cause }) as FileSystemError
  // A failure of the cluster itself has no number of its own: programs see an I/O error, people the code.
  error.errno = -(number ?? constants.errno.EIO)
  error.code = code
  error.syscall = syscall
  if (path !== undefined) error.path = path
  if (dest !== undefined) error.dest = dest
  return error
}

/** Runs one call; what it throws becomes an error of that call. */
export async function inSyscall<T> (syscall: string, path: string | undefined, work: () => Promise<T>, dest?: string): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError || isFileSystemError(error)) throw error
    throw fileSystemError(error, syscall, path, dest)
  }
}

function isFileSystemError (error: unknown): boolean {
  return error instanceof Error && 'syscall' in error
}
