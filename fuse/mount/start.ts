import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, existsSync, lstatSync, openSync, realpathSync, type Stats } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AtollError, codeOf, messageOf } from '../../fsnode/protocol/errors.ts'
import { systemClock } from '../../fsnode/protocol/system.ts'
import { devicePath, isDisconnected, mountedAt, unmountKernel } from '../device/mounts.ts'
import { clearDeadJournals } from './journal-owner.ts'
import { holderEnvironment, type HolderInit, type HolderMessage, type MountInit } from './types.ts'

/** How long a mount may take until it answers: the client finds its cluster in that time. Milliseconds. */
export const mountTimeoutMs = 60_000
/** How long a holder that failed may take to unmount and end. Milliseconds. */
const holderEndMsMax = 30_000
/** Dead mounts on top of each other that are cleared away. */
const staleMountsMax = 16

export interface StartedMount {
  holderPid: number
  /** Unmounts. Resolves when what was written is with the nodes and the holder is gone. */
  stop (): Promise<void>
}

export interface StartMountOptions {
  /** Ends the attempt: rejects with the signal's reason when nothing is left of it. */
  signal?: AbortSignal
  /** As soon as there is a holder, before it has mounted: whoever is killed from here on can be cleaned up after. */
  onHolder?: (pid: number) => void
}

/**
 * Mounts, in processes that outlive this one; resolves when the file system answers. Rejects with
 * ATOLL_NOT_ROOT, ATOLL_NO_FUSE_DEVICE, ATOLL_MOUNT_POINT_MISSING, ATOLL_MOUNT_POINT_NOT_DIRECTORY,
 * ATOLL_MOUNT_POINT_BUSY, ATOLL_DRIVER_UNAVAILABLE, ATOLL_MOUNT_FAILED, ATOLL_TIMEOUT, or what the
 * factory rejected with. After a rejection nothing is mounted.
 */
export async function startMount (init: MountInit, { signal, onHolder }: StartMountOptions = {}): Promise<StartedMount> {
  if (init.driver === 'fuse-native') throw new AtollError('ATOLL_DRIVER_UNAVAILABLE', 'this build has no fuse-native driver', { hint: 'mount with: --driver kernel' })
  checkMachine()
  const mountPoint = await prepareMountPoint(init.mountPoint)
  signal?.throwIfAborted()
  clearDeadJournals()
  const holder = spawnHolder({ ...init, mountPoint, source: init.source ?? 'atoll', mountOptions: init.mountOptions ?? ['nosuid', 'nodev'] })
  const abort = (): void => { holder.kill('SIGTERM') }
  signal?.addEventListener('abort', abort)
  try {
    if (holder.pid !== undefined) onHolder?.(holder.pid)
    await answered(holder, init)
    signal?.throwIfAborted()
  } catch (error) {
    await gone(holder)
    signal?.throwIfAborted()
    throw error
  } finally {
    signal?.removeEventListener('abort', abort)
    if (holder.connected) holder.disconnect()
    holder.unref()
  }
  return { holderPid: holder.pid!, stop: () => stopHolder(holder) }
}

function checkMachine (): void {
  if (process.getuid?.() !== 0) throw new AtollError('ATOLL_NOT_ROOT', 'mounting needs root', { hint: 'run the same command with sudo' })
  if (!existsSync(devicePath)) throw new AtollError('ATOLL_NO_FUSE_DEVICE', `${devicePath} does not exist`, { hint: 'load the kernel module: modprobe fuse' })
}

/** The real path of a directory that nothing is mounted on; mounts whose server is gone are cleared away. */
async function prepareMountPoint (path: string): Promise<string> {
  const absolute = resolve(path)
  const parent = existing(path, () => realpathSync(dirname(absolute)))
  const candidate = join(parent, basename(absolute))
  await clearStale(candidate)
  const entry = existing(path, () => lstatSync(candidate))
  if (entry.isSymbolicLink()) return await prepareMountPoint(existing(path, () => realpathSync(candidate)))
  checkDirectory(path, entry)
  return candidate
}

function existing<T> (path: string, look: () => T): T {
  try {
    return look()
  } catch (error) {
    if (codeOf(error) === 'ENOENT') throw new AtollError('ATOLL_MOUNT_POINT_MISSING', `${path} does not exist`, { hint: `make it: mkdir -p ${path}` })
    if (codeOf(error) === 'ENOTDIR') throw notDirectory(path)
    throw new AtollError('ATOLL_MOUNT_POINT_UNUSABLE', `cannot use ${path}: ${messageOf(error)}`, { hint: `see what is there: ls -ld ${path}` })
  }
}

function checkDirectory (path: string, entry: Stats): void {
  if (!entry.isDirectory()) throw notDirectory(path)
}

function notDirectory (path: string): AtollError {
  return new AtollError('ATOLL_MOUNT_POINT_NOT_DIRECTORY', `${path} is not a directory`, { hint: `choose another, or make one: mkdir -p DIR (see: ls -ld ${path})` })
}

async function clearStale (path: string): Promise<void> {
  for (let count = 0; count < staleMountsMax; count++) {
    const mount = mountedAt(path)
    if (mount === null) return
    const isStale = mount.type.startsWith('fuse') && await isDisconnected(path)
    if (!isStale || !(await unmountKernel(path, { lazy: true }))) {
      throw new AtollError('ATOLL_MOUNT_POINT_BUSY', `${path} has ${mount.source} (${mount.type}) mounted on it`, { hint: `unmount it: umount ${path}` })
    }
  }
}

function spawnHolder (init: HolderInit): ChildProcess {
  const entry = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? './holder.ts' : './holder.js', import.meta.url))
  const log = openSync(init.logFile ?? '/dev/null', 'a')
  try {
    return spawn(process.execPath, [...process.execArgv, entry], {
      detached: true,
      cwd: '/',
      stdio: ['ignore', log, log, 'ipc'],
      env: { ...process.env, [holderEnvironment]: JSON.stringify(init) }
    })
  } finally {
    closeSync(log)
  }
}

function answered (holder: ChildProcess, init: MountInit): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = systemClock.setTimer(() => {
      holder.kill('SIGTERM')
      reject(new AtollError('ATOLL_TIMEOUT', `${init.mountPoint} did not answer within ${mountTimeoutMs} ms`, { hint: 'see whether the cluster is well: atoll status' }))
    }, mountTimeoutMs)
    const fail = (error: AtollError): void => {
      timer.cancel()
      reject(error)
    }
    holder.on('message', (message: HolderMessage) => {
      if (message.type === 'failed') return fail(new AtollError(message.failure.code, message.failure.message, { hint: message.failure.hint }))
      timer.cancel()
      resolve()
    })
    holder.on('error', (error) => { fail(new AtollError('ATOLL_MOUNT_FAILED', `cannot start the holder: ${error.message}`)) })
    holder.on('exit', (code, signal) => {
      fail(new AtollError('ATOLL_MOUNT_FAILED', `the holder ended at once (${signal ?? `exit code ${code}`})`, { hint: `see its log: ${init.logFile ?? 'start it with a log file'}` }))
    })
  })
}

/** A holder that could not mount ends by itself; it unmounts first. */
function gone (holder: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (holder.pid === undefined || holder.exitCode !== null || holder.signalCode !== null) return resolve()
    const timer = systemClock.setTimer(() => { holder.kill('SIGKILL') }, holderEndMsMax)
    holder.once('exit', () => {
      timer.cancel()
      resolve()
    })
  })
}

function stopHolder (holder: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    const ended = (): void => {
      if (holder.exitCode === 0) resolve()
      else reject(new AtollError('ATOLL_UNMOUNT_FAILED', `the mount ended without its last writes (${holder.signalCode ?? `exit code ${holder.exitCode}`})`, { hint: 'see the log of the mount' }))
    }
    if (holder.exitCode !== null || holder.signalCode !== null) return ended()
    holder.ref()
    holder.once('exit', ended)
    holder.kill('SIGTERM')
  })
}
