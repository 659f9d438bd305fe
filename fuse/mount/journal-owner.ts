import { createHash } from 'node:crypto'
import { accessSync, closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readlinkSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findByEnvironment, identify, isAlive, type ProcessId } from '../../fsnode/protocol/processes.ts'
import { superblockBytes } from './journal.ts'
import { holderEnvironment, workerEnvironment, type HolderInit, type WorkerInit } from './types.ts'

/** Where in the superblock the owner is: JSON up to the first zero. The journal itself uses what is before. */
const ownerAt = 64

/** The holder of a mount, as those in the same name spaces know it. */
export interface JournalOwner { holder: ProcessId, namespaces: string }

/** One for each mount point of each mount name space, in memory: what is written there survives a process at the cost of a copy. */
export function defaultJournal (mountPoint: string): string {
  const name = createHash('sha256').update(`${readlinkSync('/proc/self/ns/mnt')} ${mountPoint}`).digest('hex').slice(0, 16)
  return join(memoryDirectory(), `atoll-${name}.journal`)
}

const namePattern = /^atoll-[0-9a-f]{16}\.journal$/

function memoryDirectory (): string {
  try {
    accessSync('/dev/shm', constants.W_OK)
    return '/dev/shm'
  } catch {
    return tmpdir()
  }
}

/** This process, as the owner of a journal. */
export function ownOwner (): JournalOwner {
  return { holder: identify(process.pid)!, namespaces: ownNamespaces() }
}

/** A process is only known by its number to those who share its pid name space, a mount to those who share its mounts. */
function ownNamespaces (): string {
  return ['mnt', 'pid', 'user'].map((kind) => readlinkSync(`/proc/self/ns/${kind}`)).join(' ')
}

/** Makes the file of a journal, with nothing in it but whose it is. Throws when there is one. */
export function claimJournal (path: string, owner = ownOwner()): void {
  const fd = openSync(path, 'wx', 0o600)
  try {
    const superblock = Buffer.alloc(superblockBytes)
    superblock.write(JSON.stringify(owner), ownerAt)
    writeSync(fd, superblock)
  } finally {
    closeSync(fd)
  }
}

/**
 * Removes journals whose mounts are dead for good: neither the holder nor a worker is there. What was in them is lost, as it would be
 * with the next mount there. What others own (another user, other name spaces), or nobody is known to own, stays. Returns what was removed.
 */
export function clearDeadJournals (directory = memoryDirectory()): string[] {
  return journalsIn(directory).filter((path) => {
    try {
      if (!isDead(path)) return false
      rmSync(path)
      return true
    } catch {
      return false // gone meanwhile, or not ours
    }
  })
}

function journalsIn (directory: string): string[] {
  try {
    // Processes are told by /proc: it must show those of our own pid name space.
    if (readlinkSync('/proc/self') !== String(process.pid)) return []
    return readdirSync(directory).filter((name) => namePattern.test(name)).map((name) => join(directory, name))
  } catch {
    return []
  }
}

function isDead (path: string): boolean {
  const found = ownerOf(path)
  if (found === null || found.owner.namespaces !== ownNamespaces()) return false
  // In this order: a holder that is dead starts no more workers, so that all it started are seen.
  if (isAlive(found.owner.holder) || isUsed(path)) return false
  // A new mount there has made a file of its own.
  return lstatSync(path).ino === found.ino
}

/** null: another user's, or no owner is written in it. */
function ownerOf (path: string): { owner: JournalOwner, ino: number } | null {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const { ino, uid } = fstatSync(fd)
    if (uid !== process.geteuid?.()) return null
    const bytes = Buffer.alloc(superblockBytes)
    readSync(fd, bytes, 0, superblockBytes, 0)
    const end = bytes.indexOf(0, ownerAt)
    const owner = JSON.parse(bytes.toString('utf8', ownerAt, end < 0 ? superblockBytes : end)) as JournalOwner
    return typeof owner.holder.pid === 'number' && typeof owner.holder.startTime === 'string' ? { owner, ino } : null
  } finally {
    closeSync(fd)
  }
}

/** Whether a holder or a worker of this journal runs: a worker serves on without its holder. */
function isUsed (path: string): boolean {
  const workers = findByEnvironment(workerEnvironment, (text) => journalOf<WorkerInit>(text, ({ journal }) => journal) === path)
  const holders = findByEnvironment(holderEnvironment, (text) => journalOf<HolderInit>(text, ({ journal, mountPoint }) => journal ?? defaultJournal(mountPoint)) === path)
  return workers.length + holders.length > 0
}

function journalOf<T> (text: string, find: (init: T) => string | false | null): string | false | null {
  try {
    return find(JSON.parse(text) as T)
  } catch {
    return null
  }
}
