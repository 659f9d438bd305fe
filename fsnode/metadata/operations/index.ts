import { beginTruncation, endTruncation, setattr } from './attributes.ts'
import { allocateInodes, changes } from './changes.ts'
import { commit, extent } from './content.ts'
import { create } from './create.ts'
import { link } from './link.ts'
import { collect, format } from './maintenance.ts'
import { forget, hold, rmdir, unlink } from './remove.ts'
import { rename } from './rename.ts'
import { endSession, openSession, overdueSession } from './sessions.ts'
import {
  beginTransaction, conclude, decideTransaction, endTransaction, finishTransaction, prepareTransaction
} from './transactions.ts'
import { removexattr, setxattr } from './xattrs.ts'

/** Every command of the replicated log, by its name there: names are never reused with another meaning. */
export const operations = {
  format,
  create,
  unlink,
  rmdir,
  rename,
  link,
  setattr,
  commit,
  extent,
  setxattr,
  removexattr,
  hold,
  forget,
  changes,
  'allocate-inodes': allocateInodes,
  'begin-truncation': beginTruncation,
  'end-truncation': endTruncation,
  'open-session': openSession,
  'overdue-session': overdueSession,
  'end-session': endSession,
  collect,
  'begin-transaction': beginTransaction,
  'decide-transaction': decideTransaction,
  'end-transaction': endTransaction,
  'prepare-transaction': prepareTransaction,
  'finish-transaction': finishTransaction,
  conclude
}

export type Operations = typeof operations
