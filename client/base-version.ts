/** The server's versions of an inode begin with 1. */
const unknownVersion = 0

/**
 * On which version of an inode the changes of an open file were made that are not committed. When the session is lost, they stand under the
 * next one only if nobody else has changed the inode since.
 */
export class BaseVersion {
  private version = unknownVersion
  private doubtful = false

  /** The session was lost with changes not committed, and the next one has not shown yet whether they stand. */
  get isInDoubt (): boolean { return this.doubtful }

  /** Of the server, or as it will be there with what was decided here. */
  seen (version: number): void { if (!this.doubtful) this.version = Math.max(this.version, version) }

  doubt (): void { this.doubtful = true }

  /** A change that was counted has not happened, or nobody knows: others may have made that version. */
  changeLost (): void { this.version = unknownVersion }

  /** The version under the next session: why the changes do not stand, for people; null: they do. */
  settle (version: number): string | null {
    const { version: before } = this
    this.version = version
    this.doubtful = false
    if (version === before) return null
    return before === unknownVersion ? 'a change of the file before them was lost with the session' : 'the file was changed by others while this client was cut off'
  }

  /** They are given up, whatever the version is. */
  settleUnseen (): void { this.doubtful = false }
}
