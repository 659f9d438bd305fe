/**
 * The disk as the chunk store sees it. Failures carry POSIX codes ('ENOENT', 'ENOSPC', 'EIO', ...).
 * Calls on different files run in parallel; a caller orders those on one file.
 */

export interface ChunkFile {
  /** Fills `into` from `position`; answers how many bytes there were before the file ended. */
  read (into: Buffer, position: number): Promise<number>
  /** Writes all buffers, one after the other, from `position`. After a failure any part may have been written. */
  write (buffers: readonly Buffer[], position: number): Promise<void>
  /** Cuts or extends (with a hole) to `length` bytes. */
  truncate (length: number): Promise<void>
  /** What was written and the length are on stable storage when this resolves; not the directory entry. */
  datasync (): Promise<void>
  size (): Promise<number>
  close (): Promise<void>
}

export interface ChunkFiles {
  /** Where others read these files, too: their machine (see machine.ts), and by which path; null: nowhere. */
  readonly outside: { machine: string | null, pathOf: (path: string) => string } | null
  /** Rejects with ENOENT, or with EEXIST when it is to be created. */
  open (path: string, create: boolean): Promise<ChunkFile>
  unlink (path: string): Promise<void>
  /** After a power failure the file is under one of the two names. Rejects with ENOENT when it, or the directory of the new name, is not there. */
  rename (from: string, to: string): Promise<void>
  /** Creates it and its parents, and puts their entries on stable storage; fine if it is there. */
  makeDirectory (path: string): Promise<void>
  /** Names within, in no order; none when there is no such directory. */
  list (path: string): Promise<string[]>
  /** The entries of the directory are on stable storage when this resolves; fine if it is not there. */
  syncDirectory (path: string): Promise<void>
  /** Removes the directory with all that is in it; fine if it is not there. */
  removeTree (path: string): Promise<void>
  space (path: string): Promise<{ freeBytes: number, capacityBytes: number }>
}
