import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import { AtollError, codeOf } from '../../fsnode/protocol/errors.ts'
import { mountedAt } from '../../fuse/device/mounts.ts'
import type { DataDirectory } from '../data-directory.ts'

/** What would fail later is said now, before anything is started. Makes the directories that are missing. */
export function preflight (directory: DataDirectory, mountPoint: string | null): void {
  if (mountPoint !== null) requireMounting()
  directory.readCluster()
  directory.prepare()
  if (mountPoint !== null && !directory.liveMounts().some((mount) => mount.path === mountPoint)) prepareMountPoint(mountPoint)
}

function requireMounting (): void {
  if (process.getuid?.() !== 0) {
    throw new AtollError('ATOLL_NOT_ROOT', 'mounting needs root', { hint: 'run it as root, or without a mount: atoll up --no-mount' })
  }
  if (!existsSync('/dev/fuse')) {
    throw new AtollError('ATOLL_NO_FUSE_DEVICE', '/dev/fuse does not exist', { hint: 'load the module (modprobe fuse), or run without a mount: atoll up --no-mount' })
  }
}

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
  if (readdirSync(path).length > 0) throw new AtollError('ATOLL_MOUNT_POINT_BUSY', `${path} is not empty: a mount would hide what is in it`, { hint: 'choose another: atoll up --mount DIR' })
}
