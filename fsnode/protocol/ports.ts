/**
 * The doors to the outside world. Every core receives these; only their real implementations
 * (and the simulator's twins) touch the machine's clock, network and disks.
 */

export interface Timer { cancel (): void }

export interface Clock {
  /** Monotonic time in milliseconds; the origin is arbitrary. */
  now (): number
  /** Wall-clock time in nanoseconds since the Unix epoch: for time stamps, never for durations. */
  wallNs (): bigint
  setTimer (callback: () => void, delayMs: number): Timer
}

export interface Random {
  /** Uniform in [0, 1). */
  next (): number
  /** `length` random bytes, for identifiers. */
  bytes (length: number): Buffer
}

export interface Address { host: string, port: number }

/** An ordered, reliable byte stream between two processes. */
export interface Connection {
  readonly remote: Address
  /** The other side is a process of this user on this machine: it can read the same files, unless it sees others. */
  readonly isLocal?: boolean
  /**
   * Queues the buffers in order; they must not be changed until `onSent` is called: once, when they have
   * left or never will.
   */
  send (buffers: Buffer[], onSent?: () => void): void
  /** Bytes queued here that the peer's machine has not taken yet. */
  readonly queuedBytes: number
  /** The one receiver of bytes; set right after the connection is made. */
  onData: (chunk: Buffer) => void
  /**
   * Set by a receiver that knows where the bytes that come next belong: asked after each `onData`, which is then given the part
   * of that buffer that was filled. null: anywhere. A connection may do without.
   */
  place?: (() => Buffer | null) | undefined
  /** Called once, whoever closed. */
  onClose: (error?: Error) => void
  close (): void
}

export interface Listener { readonly address: Address, close (): Promise<void> }

export interface Network {
  /** Rejects with ATOLL_UNREACHABLE. */
  dial (address: Address, options?: { timeoutMs?: number }): Promise<Connection>
  /** `port` 0 takes a free one. Rejects with ATOLL_PORT_IN_USE. */
  listen (address: Address, onConnection: (connection: Connection) => void): Promise<Listener>
}

export type KvOperation =
  | { type: 'put', key: Uint8Array, value: Uint8Array }
  | { type: 'del', key: Uint8Array }

export interface KvRange {
  gte?: Uint8Array
  gt?: Uint8Array
  lt?: Uint8Array
  lte?: Uint8Array
  reverse?: boolean
  limit?: number
}

/** An ordered key-value store. Keys compare bytewise. */
export interface Kv {
  /** Synchronous on purpose: state machines apply without yielding. */
  get (key: Uint8Array): Uint8Array | undefined
  /** Atomic. With `sync` it is on stable storage when the promise resolves; without, it survives a crash of the process only. */
  batch (operations: KvOperation[], options?: { sync?: boolean }): Promise<void>
  /** Iterates over a snapshot taken at the call. */
  iterate (range: KvRange): AsyncIterable<[Uint8Array, Uint8Array]>
  close (): Promise<void>
}

/** Structured log; `fields` hold what a reader filters by. */
export interface Logger {
  debug (message: string, fields?: Record<string, unknown>): void
  info (message: string, fields?: Record<string, unknown>): void
  warn (message: string, fields?: Record<string, unknown>): void
  error (message: string, fields?: Record<string, unknown>): void
  child (bindings: Record<string, unknown>): Logger
}
