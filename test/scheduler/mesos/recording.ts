import { readFileSync, readdirSync } from 'node:fs'
import type { SchedulerEvent } from '../../../scheduler/mesos/types.ts'

/** One line of a recording of a real master's traffic. */
export interface Line { t: number, conn?: number, dir?: 'request' | 'response' | 'close', bytes?: string, base64?: string, note?: string, by?: string, to?: string }

export interface Recording {
  lines: Line[]
  /** Everything that the master sent on a connection, as it arrived. */
  responses (connection: number): Buffer[]
  requests (connection: number): string[]
  /** The connections on which a scheduler subscribed and got a stream. */
  subscriptions (): number[]
  /** The events of a subscription, read naively. */
  events (connection: number): SchedulerEvent[]
}

const folder = new URL('../../fixtures/mesos/', import.meta.url)

/** All of them, in order; the file of ZooKeeper packets is none of HTTP. */
export const recordingNames: string[] = readdirSync(folder)
  .filter((name) => name.endsWith('.jsonl') && !name.includes('zookeeper-wire'))
  .map((name) => name.slice(0, -'.jsonl'.length))
  .sort()

export const bytesOf = ({ bytes, base64 }: Line): Buffer => base64 === undefined ? Buffer.from(bytes!) : Buffer.from(base64, 'base64')

/** By its whole name, or its number alone. */
export function readRecording (name: string): Recording {
  const full = recordingNames.find((each) => each.startsWith(`${name}-`)) ?? name
  const lines = readFileSync(new URL(`${full}.jsonl`, folder), 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line) as Line)
  const of = (connection: number, dir: string): Line[] => lines.filter((line) => line.conn === connection && line.dir === dir)
  const recording: Recording = {
    lines,
    responses: (connection) => of(connection, 'response').map(bytesOf),
    requests: (connection) => of(connection, 'request').map(({ bytes }) => bytes!),
    subscriptions: () => [...new Set(lines.flatMap(({ conn }) => conn ?? []))].filter((conn) =>
      recording.requests(conn)[0]?.startsWith('POST /api/v1/scheduler ') === true && /"type":"SUBSCRIBE"/.test(recording.requests(conn)[0]!) &&
      Buffer.concat(recording.responses(conn)).toString('latin1', 0, 12) === 'HTTP/1.1 200'),
    events: (connection) => recordsOf(bodyOf(recording.responses(connection))) as SchedulerEvent[]
  }
  return recording
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
