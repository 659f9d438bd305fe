import type { ReadStream, WriteStream, PathLike, OpenDirOptions } from 'node:fs'
import type * as promises from 'node:fs/promises'
import type { Dir } from './dir.ts'

/** What node:fs/promises has and a mounted volume has too, with exactly its types. */
export type SharedWithNode =
  | 'access' | 'appendFile' | 'chmod' | 'chown' | 'constants' | 'copyFile' | 'cp' | 'lchown' | 'link' | 'lstat' | 'lutimes'
  | 'mkdir' | 'mkdtemp' | 'mkdtempDisposable' | 'readFile' | 'readdir' | 'readlink' | 'realpath' | 'rename' | 'rm' | 'rmdir'
  | 'stat' | 'statfs' | 'symlink' | 'truncate' | 'unlink' | 'utimes' | 'writeFile'

/** node:fs/promises' FileHandle, without its experimental `pull` and `writer`. */
export type FileHandle = Omit<promises.FileHandle, 'pull' | 'writer'>

export type FileData = Parameters<typeof promises.writeFile>[1]

export type ReadStreamOptions = promises.CreateReadStreamOptions & { flags?: string, mode?: number }
export type WriteStreamOptions = promises.CreateWriteStreamOptions & { flags?: string, mode?: number, signal?: AbortSignal }

/**
 * A volume with the methods and semantics of node:fs/promises; docs/file-api.md lists the differences.
 * Paths are within the volume, relative ones from its root. Methods need no `this`.
 */
export interface MountedVolume extends Pick<typeof promises, SharedWithNode>, AsyncDisposable {
  open (path: PathLike, flags?: string | number, mode?: number | string): Promise<FileHandle>
  opendir (path: PathLike, options?: OpenDirOptions & { recursive?: boolean }): Promise<Dir>
  /** As in node:fs. */
  createReadStream (path: PathLike, options?: ReadStreamOptions | BufferEncoding): ReadStream
  createWriteStream (path: PathLike, options?: WriteStreamOptions | BufferEncoding): WriteStream
  /** Everything written through this volume is on stable storage of every in-sync replica. */
  sync (): Promise<void>
  /** Writes back what is open and disconnects. */
  close (): Promise<void>
}
