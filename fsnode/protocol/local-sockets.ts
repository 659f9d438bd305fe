// shell: where Unix sockets of this machine are.
import { lstat, mkdir, readdir, readlink, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { codeOf } from './errors.ts'
import type { Address } from './ports.ts'

/** Bytes of a path that a socket's address can hold. */
const pathBytesMax = 107
/** The directory may lie in a file system that does not answer, or only once this process does. */
const lookTimeoutMs = 200
/** A younger one may be about to be listened to. */
const deadAgeMs = 60_000

/**
 * Where a process of the same user in the same network name space listens, too, when it listens on the address. The directory belongs to the user
 * alone, so nobody else can be met there. null: nowhere.
 */
export async function localSocket (address: Address): Promise<string | null> {
  const path = await inTime(() => pathOf(address))
  return path !== null && await inTime(isPrivate) === true ? path : null
}

/** The same, for who is about to listen there. What processes left there that have ended is removed. */
export async function claimLocalSocket (address: Address): Promise<string | null> {
  await inTime(() => mkdir(directory(), { mode: 0o700 })) // if it is not there yet
  const path = await localSocket(address)
  if (path === null) return null
  await inTime(() => rm(path, { force: true }))
  await removeAllDead().catch(() => {}) // the next one that listens does it
  return path
}

function directory (): string { return join(tmpdir(), `atoll-${process.geteuid?.() ?? 'none'}`) }

async function pathOf ({ host, port }: Address): Promise<string | null> {
  const namespace = (await readlink('/proc/self/ns/net')).replace(/\D/g, '')
  const path = join(directory(), `${namespace} ${host} ${port}`)
  return Buffer.byteLength(path) <= pathBytesMax ? path : null
}

async function isPrivate (): Promise<boolean> {
  const found = await lstat(directory())
  return found.isDirectory() && found.uid === process.geteuid?.() && (found.mode & 0o077) === 0
}

/** Looks that have not been answered: each holds a thread of the pool. */
let unanswered = 0

/** null: it fails, or is not answered in time. */
function inTime<T> (look: () => Promise<T>): Promise<T | null> {
  if (unanswered > 0) return Promise.resolve(null)
  return new Promise((resolve) => {
    let isLate = false
    const timer = setTimeout(() => {
      isLate = true
      unanswered++
      resolve(null)
    }, lookTimeoutMs)
    const ended = (result: T | null): void => {
      clearTimeout(timer)
      if (isLate) unanswered--
      resolve(result)
    }
    look().then(ended, () => { ended(null) })
  })
}

/** Takes as long as there are many: that says nothing about the directory, which has just answered. */
async function removeAllDead (): Promise<void> {
  for (const name of await readdir(directory())) await removeDead(join(directory(), name))
}

async function removeDead (path: string): Promise<void> {
  const found = await lstat(path)
  if (found.isSocket() && Date.now() - found.mtimeMs > deadAgeMs && await isDead(path)) await rm(path, { force: true })
}

function isDead (path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(false)
    })
    socket.once('error', (error) => { resolve(codeOf(error) === 'ECONNREFUSED') })
  })
}
