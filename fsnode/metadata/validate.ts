import { AtollError } from '../protocol/errors.ts'

/**
 * What a request's fields must be, whatever its method, so that nothing else reaches the replicated
 * log. Names, sizes and flags have POSIX codes of their own and are checked where they are used.
 */
const checks: Record<string, (value: unknown) => boolean> = {
  session: isText,
  op: isCount,
  first: isCount,
  count: isCount,
  ino: isCount,
  dir: isCount,
  newDir: isCount,
  uid: isUnsigned32,
  gid: isUnsigned32,
  mode: (value) => isUnsigned32(value) || value === 'shared' || value === 'exclusive',
  rdev: isUnsigned32,
  caller: (value) => typeof value === 'object' && value !== null && 'uid' in value && 'gid' in value && isUnsigned32(value.uid) && isUnsigned32(value.gid),
  name: isText,
  newName: isText,
  symlink: isText,
  after: isText,
  atime: isTime,
  mtime: isTime,
  inos: isList,
  shared: isList,
  exclusive: (value) => typeof value === 'boolean' || isList(value),
  elsewhere: (value) => typeof value === 'boolean',
  inherited: (value) => value === undefined || isList(value)
}

/** @throws AtollError ATOLL_BAD_MESSAGE */
export function validate (request: object): void {
  for (const field in request) {
    const value = (request as Record<string, unknown>)[field]
    if (value !== undefined && checks[field]?.(value) === false) throw new AtollError('ATOLL_BAD_MESSAGE', `bad ${field} in a request`)
  }
}

function isText (value: unknown): boolean { return typeof value === 'string' }

function isCount (value: unknown): boolean { return Number.isSafeInteger(value) && value as number >= 0 }

function isUnsigned32 (value: unknown): boolean { return isCount(value) && value as number <= 0xffffffff }

function isTime (value: unknown): boolean {
  return value === 'now' || (typeof value === 'bigint' && value >= -(2n ** 63n) && value < 2n ** 63n)
}

function isList (value: unknown): boolean { return Array.isArray(value) && value.every(isCount) }
