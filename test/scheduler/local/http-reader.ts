import { RecordDecoder } from '../../../scheduler/mesos/recordio.ts'

export interface Answer { status: number, headers: Record<string, string>, body: string }

/**
 * Reads what a server sends on one connection, in pieces of any size: answers with a length, and chunked
 * ones, which are taken for event streams.
 */
export class HttpReader {
  readonly answers: Answer[] = []
  readonly events: any[] = []
  streamEnded = false
  private rest = Buffer.alloc(0)
  private stream: RecordDecoder | undefined

  push (bytes: Buffer): void {
    this.rest = Buffer.concat([this.rest, bytes])
    while (this.stream === undefined ? this.readAnswer() : this.readChunk());
  }

  private readAnswer (): boolean {
    const end = this.rest.indexOf('\r\n\r\n')
    if (end === -1) return false
    const [first, ...lines] = this.rest.toString('latin1', 0, end).split('\r\n')
    const headers = Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]))
    const length = Number(headers['content-length'] ?? 0)
    const chunked = headers['transfer-encoding'] === 'chunked'
    if (!chunked && this.rest.length < end + 4 + length) return false
    const body = chunked ? '' : this.rest.toString('utf8', end + 4, end + 4 + length)
    this.answers.push({ status: Number(first!.split(' ')[1]), headers, body })
    this.rest = this.rest.subarray(end + 4 + (chunked ? 0 : length))
    if (chunked) this.stream = new RecordDecoder()
    return true
  }

  private readChunk (): boolean {
    const end = this.rest.indexOf('\r\n')
    if (end === -1) return false
    const length = parseInt(this.rest.toString('latin1', 0, end), 16)
    if (this.rest.length < end + 2 + length + 2) return false
    const chunk = this.rest.subarray(end + 2, end + 2 + length)
    this.rest = this.rest.subarray(end + 2 + length + 2)
    if (length === 0) {
      this.streamEnded = true
      this.stream = undefined
      return true
    }
    for (const record of this.stream!.push(chunk)) this.events.push(JSON.parse(record.toString()))
    return true
  }
}
