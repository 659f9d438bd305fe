import { constants } from 'node:os'

/**
 * Codes of failures that are Atoll's own. File-system outcomes use the POSIX names ('ENOENT', ...).
 * Codes are stable: messages may change, codes may not.
 */
export type AtollCode =
  | 'ATOLL_NOT_LEADER'        // this replica does not lead the group; `leader` may name who does
  | 'ATOLL_NOT_PRIMARY'       // this replica is not the partition's primary
  | 'ATOLL_STALE_EPOCH'       // the message carries another epoch than the replica knows
  | 'ATOLL_UNAVAILABLE'       // no quorum, no lease, or still starting: try again
  | 'ATOLL_UNREACHABLE'       // no connection could be made
  | 'ATOLL_CONNECTION_LOST'   // the connection closed before the answer came: outcome unknown
  | 'ATOLL_TIMEOUT'           // no answer in time: outcome unknown
  | 'ATOLL_BAD_MESSAGE'       // a frame or message that cannot be understood
  | 'ATOLL_PAYLOAD_LOST'      // what was to be read from a file is not there: it is to be sent
  | 'ATOLL_UNKNOWN_METHOD'
  | 'ATOLL_SESSION_EXPIRED'   // the session was dropped; its leases are gone
  | 'ATOLL_CHANGED'           // somebody else has changed it since: the request comes late
  | 'ATOLL_BAD_CHECKSUM'      // a block on disk does not match its checksum
  | 'ATOLL_MAP_LOST'          // nodes hold files of volumes, and the manager knows of none
  | 'ATOLL_INTERNAL'
  | (string & {})

export interface ErrorDetails {
  /** What is affected and which command helps, for people. */
  hint?: string
  /** With ATOLL_NOT_LEADER: the node id of the leader, if known. */
  leader?: string | null
  [field: string]: unknown
}

export class AtollError extends Error {
  readonly code: AtollCode
  readonly details: ErrorDetails

  constructor (code: AtollCode, message: string, details: ErrorDetails = {}) {
    super(message)
    this.name = 'AtollError'
    this.code = code
    this.details = details
  }

  override toString (): string {
    const { hint } = this.details
    return `${this.code}: ${this.message}${hint === undefined ? '' : `\n  ${hint}`}`
  }
}

/** A file-system outcome with its POSIX name. */
export function posixError (code: string, what = ''): AtollError {
  return new AtollError(code, what === '' ? code : `${code}: ${what}`)
}

export function codeOf (error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string'
    ? error.code
    : 'ATOLL_INTERNAL'
}

export function messageOf (error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The positive errno of a code; EIO for what has no POSIX name. */
export function errnoOf (error: unknown): number {
  const code = codeOf(error)
  return (constants.errno as Record<string, number>)[code] ?? constants.errno.EIO
}

/** Failures after which the same request may be sent again, perhaps elsewhere. */
export function isRetryable (error: unknown): boolean {
  switch (codeOf(error)) {
    case 'ATOLL_NOT_LEADER':
    case 'ATOLL_NOT_PRIMARY':
    case 'ATOLL_STALE_EPOCH':
    case 'ATOLL_UNAVAILABLE':
    case 'ATOLL_UNREACHABLE':
    case 'ATOLL_CONNECTION_LOST':
    case 'ATOLL_TIMEOUT':
    case 'ATOLL_PAYLOAD_LOST':
      return true
    default:
      return false
  }
}
