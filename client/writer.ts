import { byteLengthOf } from '../fsnode/protocol/frame.ts'
import { extentsMax } from '../fsnode/protocol/data.ts'
import { fullPiecesFromBytes, scatteredBytesMax, writePieceBytesMax, writeRequestsInFlightMax, writeWindowBytes } from './bounds.ts'
import type { ChunkRange } from './chunk-store.ts'
import { chunkRanges, sliceBuffers } from './ranges.ts'

/** One write of the caller, until every piece of it is acknowledged. */
export interface WriteRecord {
  /** Order of acceptance within the file. */
  sequence: number
  piecesLeft: number
  failure: unknown
  /** Called once, when no piece is left. */
  ended: (record: WriteRecord) => void
}

export interface ChunkWriterComponents {
  /** `attempting` is asked before each attempt: what it throws ends the request. */
  send: (chunk: number, ranges: readonly ChunkRange[], attempting: () => void) => Promise<void>
  /** Null when requests may be sent now; else a promise after which it is worth asking again. */
  hold: () => Promise<void> | null
  /** Requests may be sent now. */
  isFree: () => boolean
}

/** Of an attempt that may not be made now. */
const heldBack = new Error('held back')

interface Piece {
  chunk: number
  offset: number
  length: number
  data: Buffer[]
  records: WriteRecord[]
  sent: boolean
  /** How many earlier pieces overlap and are not answered; each has this one among those it blocks. */
  blockers: number
  blocked: Piece[]
  /** Those who wait for this piece to be acknowledged, or refused. */
  waiters: Array<() => void>
}

/**
 * The chunk writes of one file. Pieces go out at once while the window of requests and bytes is
 * open (while much of it is taken, large ones when they are full); behind it, adjacent ones join into larger requests. A piece that overlaps an earlier one waits
 * for its answer, so that repeating a request after a lost answer cannot bring old bytes back.
 */
export class ChunkWriter {
  private readonly components: ChunkWriterComponents
  private readonly chunkSize: number
  private readonly waiting = new Set<Piece>()
  /** All pieces, sent or not, in order of arrival. */
  private readonly byChunk = new Map<number, Set<Piece>>()
  /** Which was the last to come, where there are any. */
  private readonly lastByChunk = new Map<number, Piece>()
  private inFlight = 0
  private bytesInFlight = 0
  private bytes = 0
  private held = false
  /** The last reason to give up what was not acknowledged. */
  private abandoned: { error: unknown } | null = null

  constructor (components: ChunkWriterComponents, chunkSize: number) {
    this.components = components
    this.chunkSize = chunkSize
  }

  /** Bytes that are not acknowledged. */
  get pendingBytes (): number { return this.bytes }

  /** Takes a range of the file; `pump` sends it. */
  add (record: WriteRecord, offset: number, data: readonly Buffer[]): void {
    let start = 0
    for (const range of chunkRanges(offset, byteLengthOf(data), this.chunkSize, writePieceBytesMax)) {
      this.addPiece(record, range.chunk, range.offset, sliceBuffers(data, start, range.length), range.length)
      start += range.length
    }
  }

  pump (): void {
    if (this.held || this.waiting.size === 0) return
    const hold = this.components.hold()
    if (hold !== null) {
      this.held = true
      hold.then(() => {
        this.held = false
        this.pump()
      }, (error) => {
        this.held = false
        this.abandon(error)
      })
      return
    }
    for (const piece of this.waiting) {
      if (this.inFlight >= writeRequestsInFlightMax) return
      if (this.inFlight > 0 && this.bytesInFlight + piece.length > writeWindowBytes) return
      if (piece.sent || piece.blockers > 0 || (this.bytesInFlight >= fullPiecesFromBytes && this.mayGrow(piece))) continue
      this.send(this.withCompanions(piece))
    }
  }

  /** The caller has begun it, and may fill it: a stream goes on. */
  private mayGrow (piece: Piece): boolean {
    const end = piece.offset + piece.length
    return piece.length > scatteredBytesMax && piece.length < writePieceBytesMax && end < this.chunkSize && this.lastByChunk.get(piece.chunk) === piece
  }

  /** Resolves when no earlier write to the range is under way; null when none is. */
  settled (offset: number, length: number): Promise<void> | null {
    if (this.byChunk.size === 0) return null
    const waits: Array<Promise<void>> = []
    for (const range of chunkRanges(offset, length, this.chunkSize)) {
      for (const piece of this.byChunk.get(range.chunk) ?? []) {
        if (overlaps(piece, range)) waits.push(new Promise((resolve) => { piece.waiters.push(resolve) }))
      }
    }
    return waits.length === 0 ? null : Promise.all(waits).then(() => {})
  }

  /** Drops what was not sent yet, and does not send again what was: the records fail with `error`. */
  abandon (error: unknown): void {
    this.abandoned = { error }
    for (const piece of [...this.waiting]) {
      this.waiting.delete(piece)
      this.finish(piece, error)
    }
  }

  private addPiece (record: WriteRecord, chunk: number, offset: number, data: Buffer[], length: number): void {
    record.piecesLeft++
    this.bytes += length
    let pieces = this.byChunk.get(chunk)
    if (pieces === undefined) this.byChunk.set(chunk, pieces = new Set())
    const last = this.lastByChunk.get(chunk)
    if (last !== undefined && !last.sent && last.offset + last.length === offset && last.length + length <= writePieceBytesMax) {
      this.block(last, pieces, { offset, length })
      last.data.push(...data)
      last.length += length
      last.records.push(record)
      return
    }
    const piece: Piece = { chunk, offset, length, data, records: [record], sent: false, blockers: 0, blocked: [], waiters: [] }
    this.block(piece, pieces, piece)
    pieces.add(piece)
    this.lastByChunk.set(chunk, piece)
    this.waiting.add(piece)
  }

  /** The piece waits for those before it that overlap the range, which is (or becomes) part of it. */
  private block (piece: Piece, before: ReadonlySet<Piece>, range: { offset: number, length: number }): void {
    for (const other of before) {
      if (other === piece || !overlaps(other, range)) continue
      other.blocked.push(piece)
      piece.blockers++
    }
  }

  /** Small pieces of one chunk travel together: a request costs more than its bytes. */
  private withCompanions (piece: Piece): Piece[] {
    const together = [piece]
    if (piece.length > scatteredBytesMax) return together
    let bytes = piece.length
    for (const other of this.byChunk.get(piece.chunk)!) {
      if (together.length >= extentsMax || bytes >= writePieceBytesMax) break
      if (other === piece || other.sent || other.length > scatteredBytesMax || other.blockers > 0) continue
      together.push(other)
      bytes += other.length
    }
    return together
  }

  private send (pieces: Piece[]): void {
    let bytes = 0
    for (const piece of pieces) {
      piece.sent = true
      this.waiting.delete(piece)
      bytes += piece.length
    }
    this.inFlight++
    this.bytesInFlight += bytes
    const answered = (error: unknown): void => {
      this.inFlight--
      this.bytesInFlight -= bytes
      for (const piece of pieces) this.finish(piece, error)
      this.pump()
    }
    this.sendWhileFree(pieces).then(() => { answered(null) }, answered)
  }

  /** No attempt is made at what was given up, nor while the file is not surely held: others may have written since. */
  private async sendWhileFree (pieces: Piece[]): Promise<void> {
    const { components: { send, hold, isFree }, abandoned } = this
    const attempting = (): void => {
      if (this.abandoned !== null && this.abandoned !== abandoned) throw this.abandoned.error
      if (!isFree()) throw heldBack
    }
    for (;;) {
      try {
        await send(pieces[0]!.chunk, pieces, attempting)
        return
      } catch (error) {
        if (error !== heldBack) throw error
        await hold()
      }
    }
  }

  private finish (piece: Piece, error: unknown): void {
    const pieces = this.byChunk.get(piece.chunk)!
    pieces.delete(piece)
    if (pieces.size === 0) this.byChunk.delete(piece.chunk)
    if (this.lastByChunk.get(piece.chunk) === piece) this.lastByChunk.delete(piece.chunk)
    for (const other of piece.blocked) other.blockers--
    this.bytes -= piece.length
    for (const record of piece.records) {
      record.piecesLeft--
      record.failure ??= error
      if (record.piecesLeft === 0) record.ended(record)
    }
    for (const waiter of piece.waiters) waiter()
  }
}

function overlaps (one: { offset: number, length: number }, other: { offset: number, length: number }): boolean {
  return one.offset < other.offset + other.length && other.offset < one.offset + one.length
}
