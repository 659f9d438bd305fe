import type { InodeAttr } from '../../protocol/metadata.ts'
import type { Claim } from '../leader.ts'
import type { Part, PartResult } from '../types.ts'

/** Bodies of 'meta.transaction' by step; 'commit', 'abort' and 'outcome' have none. */

export interface PrepareBody {
  parts: Part[]
  session: string
  /** The session has the inode open that loses its last name. */
  open: boolean
  watermark: number
}

export interface PreparedBody { results: PartResult[] }

export type QueryBody =
  /** `session`: who asks; what others decide by themselves in the directory is waited for. */
  | { kind: 'entry', dir: number, name: string, session: string }
  | { kind: 'attr', ino: number }
  /** Of a directory; waits while it is being moved. */
  | { kind: 'parent', ino: number }
  /** How many inodes the partition holds. */
  | { kind: 'filling' }

export interface EntryAnswer { ino: number, type: number }
export interface AttrAnswer { attr: InodeAttr, inline?: Buffer }
export interface ParentAnswer { parent: number }
export interface FillingAnswer { inodes: number }

/** What a partition holds on to from the preparation of its parts until the decision. */
export function claimsOf (parts: readonly Part[]): Claim[] {
  const claims: Claim[] = []
  for (const part of parts) {
    if (part.kind === 'insert' || part.kind === 'remove') claims.push({ kind: 'name', dir: part.dir, name: part.name })
    else if (part.kind === 'tree') claims.push({ kind: 'tree' })
    // A directory that is being made has no number until it is prepared.
    else if (part.kind !== 'create' || part.ino !== 0) claims.push({ kind: 'inode', ino: part.ino, opens: part.kind === 'links' && part.change === -1 })
  }
  return claims
}

/** Says who has the inode open when its last name goes. */
export function withHolders (parts: readonly Part[], open: readonly string[], self: string, selfOpen: boolean): Part[] {
  const holders = selfOpen ? [...open, self] : [...open]
  return parts.map((part) => part.kind === 'links' && part.change === -1 ? { ...part, holders } : part)
}

export function sequenceOf (id: string): number { return Number(id.slice(id.indexOf('.') + 1)) }

export function coordinatorIndexOf (id: string): number { return Number(id.slice(0, id.indexOf('.'))) }
