import { readFileSync } from 'node:fs'

/** One line of a recording of a real master's traffic. */
interface Line { t: number, conn?: number, dir?: 'request' | 'response' | 'close', bytes?: string, note?: string }

export interface Recording {
  /** Everything that the master sent on a connection, as it arrived. */
  responses (connection: number): Buffer[]
  requests (connection: number): string[]
}

export function readRecording (name: string): Recording {
  const file = new URL(`../../fixtures/mesos/${name}.jsonl`, import.meta.url)
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line) as Line)
  const bytes = (connection: number, dir: string): string[] =>
    lines.filter((line) => line.conn === connection && line.dir === dir).map((line) => line.bytes!)
  return {
    responses: (connection) => bytes(connection, 'response').map((text) => Buffer.from(text)),
    requests: (connection) => bytes(connection, 'request')
  }
}

/** The chunked body of the first answer on a connection, without its chunks. Written naively, to compare with. */
export function bodyOf (responses: Buffer[]): Buffer {
  const all = Buffer.concat(responses)
  let offset = all.indexOf('\r\n\r\n') + 4
  const chunks: Buffer[] = []
  while (offset < all.length) {
    const end = all.indexOf('\r\n', offset)
    const length = parseInt(all.toString('latin1', offset, end), 16)
    if (length === 0) break
    chunks.push(all.subarray(end + 2, end + 2 + length))
    offset = end + 2 + length + 2
  }
  return Buffer.concat(chunks)
}

/** The JSON records of a RecordIO body, naively. */
export function recordsOf (body: Buffer): unknown[] {
  const records: unknown[] = []
  for (let offset = 0; offset < body.length;) {
    const end = body.indexOf('\n', offset)
    const length = Number(body.toString('latin1', offset, end))
    records.push(JSON.parse(body.toString('utf8', end + 1, end + 1 + length)))
    offset = end + 1 + length
  }
  return records
}
