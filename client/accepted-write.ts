import type { WriteRecord } from './writer.ts'

/** A write of the caller, from its acceptance until its bytes are at the nodes. */
export interface AcceptedWrite extends WriteRecord {
  offset: number
  end: number
  data: readonly Buffer[]
  /** Of the file when the write was accepted. */
  sizeBefore: number
  token: number | null
  resolve: () => void
  reject: (error: unknown) => void
}

/** Errors of writes that were acknowledged before they failed: each handle reports them once. */
export interface LateErrors { count: number, last: unknown }

/** `append`: at the end of the file, whatever the offset. */
export interface WriteOptions { append?: boolean, operationId?: number }
