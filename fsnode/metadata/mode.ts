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

/** One of the seven types of inode. */
export function isFileType (type: number): boolean {
  return type === mode.regular || type === mode.directory || type === mode.link || type === mode.fifo ||
    type === mode.socket || type === mode.character || type === mode.block
}

/** What a change of owner leaves of a file's mode: nobody may gain rights by it. */
export function withoutPrivileges (bits: number): number {
  const kept = bits & ~mode.setUid
  // Without group execution the bit means mandatory locking and stays (chown(2)).
  return (bits & mode.groupExecute) === 0 ? kept : kept & ~mode.setGid
}
