/** What the scheduler that acts leaves for the others. */
export interface StateHead {
  clusterId: string
  /** Of the process's store: whoever finds its own name here knows nothing less by itself. */
  writer: string
  /** Grows with each state that is written. */
  sequence: number
  /** Grows while the writer lives: whoever sees it stand still for long enough may act in its place. */
  beat: number
  /** Where schedulers are, for people. */
  api: string
}

/** A place that all schedulers of a cluster can reach, and that survives each of them. */
export interface StateStore {
  /** Makes the place, unless it is there. Only for a cluster that never had one: in one that has lost everything nothing new must be made. */
  prepare (): Promise<void>
  /** null: nobody has ever written. Rejects with ATOLL_UNREACHABLE, ATOLL_UNAVAILABLE, ... */
  readHead (): Promise<StateHead | null>
  /** The state that the head tells of. */
  readState (): Promise<{ head: StateHead, state: Buffer } | null>
  /** A state, and then the head that tells of it. */
  writeState (head: StateHead, state: Buffer): Promise<void>
  writeHead (head: StateHead): Promise<void>
  close (): void
}
