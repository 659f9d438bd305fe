/** Rules and limits of POSIX files, as everybody here applies them: partitions, and clients that decide for themselves. */

export const nameBytesMax = 255
export const symlinkBytesMax = 4_095
export const linksMax = 65_000
export const subdirectoriesMax = 10_000_000

/** Bits of st_mode, as in inode(7). */
export const mode = {
  typeMask: 0o170000,
  regular: 0o100000,
  directory: 0o040000,
  link: 0o120000,
  fifo: 0o010000,
  socket: 0o140000,
  character: 0o020000,
  block: 0o060000,
  permissions: 0o7777,
  setUid: 0o4000,
  setGid: 0o2000,
  groupExecute: 0o0010
} as const

export function fileType (bits: number): number { return bits & mode.typeMask }

export function isDirectory (bits: number): boolean { return (bits & mode.typeMask) === mode.directory }

export function isRegular (bits: number): boolean { return (bits & mode.typeMask) === mode.regular }

/** Whether it has a device number. */
export function isDevice (bits: number): boolean {
  const type = bits & mode.typeMask
  return type === mode.character || type === mode.block
}

/** One of the seven types of inode. */
export function isFileType (type: number): boolean {
  return type === mode.regular || type === mode.directory || type === mode.link || type === mode.fifo ||
    type === mode.socket || type === mode.character || type === mode.block
}

/** What a change of owner leaves of a file's mode. */
export function afterChangeOfOwner (bits: number): number { return isRegular(bits) ? withoutPrivileges(bits) : bits }

/** Nobody may gain rights by changing what another owns. */
export function withoutPrivileges (bits: number): number {
  const kept = bits & ~mode.setUid
  // Without group execution the bit means mandatory locking and stays (chown(2)).
  return (bits & mode.groupExecute) === 0 ? kept : kept & ~mode.setGid
}

export interface Ownership { uid: number, gid: number, mode: number }

/** The directory's group and set-group-ID bit pass on to what is made in it. */
export function inherit (directory: { gid: number, mode: number }, { uid, gid, mode: bits }: Ownership): Ownership {
  if ((directory.mode & mode.setGid) === 0) return { uid, gid, mode: bits }
  return { uid, gid: directory.gid, mode: isDirectory(bits) ? bits | mode.setGid : bits }
}

/** A POSIX code, or null for a name that a directory may hold. */
export function nameFault (name: string): string | null {
  if (typeof name !== 'string' || name === '' || name === '.' || name === '..') return 'EINVAL'
  if (isLongName(name)) return 'ENAMETOOLONG'
  return name.includes('/') || name.includes('\0') ? 'EINVAL' : null
}

export function isLongName (name: string): boolean {
  // A UTF-16 unit takes at most three bytes of UTF-8.
  return name.length * 3 > nameBytesMax && Buffer.byteLength(name) > nameBytesMax
}
