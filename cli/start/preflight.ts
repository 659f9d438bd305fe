import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { AtollError, codeOf } from '../../fsnode/protocol/errors.ts'
import { mountedAt } from '../../fuse/device/mounts.ts'
import type { DataDirectory } from '../data-directory.ts'

/** On this machine; nobody answers so late. */
const portAnswerMs = 1_000

/** What would fail later is said now, before anything is started. Makes the directories that are missing. */
export function preflight (directory: DataDirectory, mountPoint: string | null): void {
  if (mountPoint !== null) requireMounting()
  directory.readCluster()
  directory.prepare()
  if (mountPoint !== null && !directory.liveMounts().some((mount) => mount.path === mountPoint)) prepareMountPoint(mountPoint)
}

/**
 * Of a cluster of which nothing runs: what listens where its nodes did is somebody else's, such as a copy of its directory, whose nodes would
 * be taken for its own. Throws ATOLL_PORT_IN_USE.
 */
export async function requireFreePorts (directory: DataDirectory): Promise<void> {
  for (const { id, host, port } of directory.readCluster()?.nodes ?? []) {
    if (!await isServed(host, port)) continue
    throw new AtollError('ATOLL_PORT_IN_USE', `another program listens on ${host}:${port}, which is the address of ${id} of the cluster in ${directory.path}`, {
      hint: `see whose it is: ss -ltnp 'sport = :${port}'; a copy of the directory runs only while the other one is stopped`
    })
  }
}

function isServed (host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: portAnswerMs })
    const done = (served: boolean): void => {
      socket.destroy()
      resolve(served)
    }
    socket.once('connect', () => { done(true) }).once('error', () => { done(false) }).once('timeout', () => { done(false) })
  })
}

function requireMounting (): void {
  if (process.getuid?.() !== 0) {
    throw new AtollError('ATOLL_NOT_ROOT', 'mounting needs root', { hint: 'run it as root, or without a mount: atoll up --no-mount' })
  }
  if (!existsSync('/dev/fuse')) {
    throw new AtollError('ATOLL_NO_FUSE_DEVICE', '/dev/fuse does not exist', { hint: 'load the module (modprobe fuse), or run without a mount: atoll up --no-mount' })
  }
}

/** An empty directory, which is made if it is missing. Throws ATOLL_MOUNT_POINT_*. */
function prepareMountPoint (path: string): void {
  // Of a dead mount, which is cleared away when it is mounted; or busy, which is said then.
  if (mountedAt(path)?.type.startsWith('fuse') === true) return
  let entry
  try {
    entry = statSync(path)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw new AtollError('ATOLL_MOUNT_POINT_UNUSABLE', `cannot use ${path}: ${codeOf(error)}`, { hint: 'choose another: atoll up --mount DIR' })
    try {
      mkdirSync(path)
      return
    } catch (failure) {
      throw new AtollError('ATOLL_MOUNT_POINT_MISSING', `${path} does not exist and cannot be made: ${codeOf(failure)}`, { hint: `make it: mkdir -p ${path}` })
    }
  }
  if (!entry.isDirectory()) throw new AtollError('ATOLL_MOUNT_POINT_NOT_DIRECTORY', `${path} is not a directory`, { hint: 'choose another: atoll up --mount DIR' })
  requireEmpty(path)
}

/** Throws ATOLL_MOUNT_POINT_BUSY for a directory with something in it. What else is wrong with it is said when it is mounted. */
export function requireEmpty (path: string): void {
  if (mountedAt(path) === null && isFilled(path)) throw new AtollError('ATOLL_MOUNT_POINT_BUSY', `${path} is not empty: a mount would hide what is in it`, { hint: `choose another, or make one: mkdir ${path}/mnt` })
}

function isFilled (path: string): boolean {
  try {
    return readdirSync(path).length > 0
  } catch {
    return false
  }
}
