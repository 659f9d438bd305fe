import { AtollError } from '../protocol/errors.ts'
import { decode, encode } from '../protocol/frame.ts'
import type { Kv, KvOperation } from '../protocol/ports.ts'
import { restoreBatchKeys, snapshotChunkBytes } from './constants.ts'
import { generationKey, Keys } from './keys.ts'
import type { MetadataStore } from './store.ts'

const lengthBytes = 4

/**
 * A snapshot is a stream of records: u32 length (little endian), then MessagePack of that length. They are
 * arrays [key, value, key, value, ...] without the keys' generation byte, then one number, how many pairs there were: a
 * stream that was cut short is noticed. Whoever carries the stream may cut it anew.
 */
export interface Snapshot { index: number, term: number, chunks: AsyncIterable<Uint8Array> }

/** Brings the Kv up to date and streams from an iterator over that very moment, while later changes go on. */
export async function writeSnapshot (store: MetadataStore): Promise<Snapshot> {
  const { kv, keys, writer } = store
  return writer.write(false, () => {
    const iterator = kv.iterate(keys.everything())[Symbol.asyncIterator]()
    // The first step fixes the iterator's view; it must not wait for whoever reads the stream.
    const first = iterator.next()
    first.catch(() => {})
    return { ...store.written, chunks: chunksOf(iterator, first) }
  })
}

async function * chunksOf (iterator: AsyncIterator<[Uint8Array, Uint8Array]>, first: Promise<IteratorResult<[Uint8Array, Uint8Array]>>): AsyncIterable<Uint8Array> {
  let chunk: Uint8Array[] = []
  let bytes = 0
  let pairs = 0
  try {
    for (let step = await first; step.done !== true; step = await iterator.next()) {
      const [key, value] = step.value
      chunk.push(Buffer.from(key.subarray(1)), Buffer.from(value))
      bytes += key.length + value.length
      pairs++
      if (bytes < snapshotChunkBytes) continue
      yield framed(chunk)
      chunk = []
      bytes = 0
    }
  } finally {
    await iterator.return?.()
  }
  if (chunk.length > 0) yield framed(chunk)
  yield framed(pairs)
}

/**
 * Writes a snapshot into the generation that is not in use, then makes it the one that counts: a
 * crash in between leaves the old state. Rejects with ATOLL_BAD_SNAPSHOT when the stream ends early.
 */
export async function readSnapshot (kv: Kv, generation: number, { chunks }: Snapshot): Promise<void> {
  const next = generation === 0 ? 1 : 0
  await clear(kv, next)
  await fill(kv, next, chunks)
  await kv.batch([{ type: 'put', key: generationKey, value: Buffer.from([next]) }], { sync: true })
  await clear(kv, generation)
}

async function fill (kv: Kv, generation: number, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  let pairs = 0
  let expected = -1
  for await (const bytes of recordsOf(chunks)) {
    const chunk = decode(bytes)
    if (typeof chunk === 'number') {
      expected = chunk
      continue
    }
    const flat = chunk as Uint8Array[]
    const operations: KvOperation[] = []
    for (let at = 0; at + 1 < flat.length; at += 2) {
      operations.push({ type: 'put', key: Buffer.concat([Buffer.from([generation]), flat[at]!]), value: flat[at + 1]! })
    }
    pairs += operations.length
    await kv.batch(operations)
  }
  if (pairs !== expected) throw new AtollError('ATOLL_BAD_SNAPSHOT', `the snapshot holds ${pairs} pairs instead of ${expected}`)
}

function framed (value: unknown): Buffer {
  const body = encode(value)
  const length = Buffer.allocUnsafe(lengthBytes)
  length.writeUInt32LE(body.length)
  return Buffer.concat([length, body])
}

async function * recordsOf (chunks: AsyncIterable<Uint8Array>): AsyncIterable<Buffer> {
  let rest = Buffer.alloc(0)
  for await (const bytes of chunks) {
    rest = Buffer.concat([rest, bytes])
    while (rest.length >= lengthBytes && rest.length >= lengthBytes + rest.readUInt32LE()) {
      const end = lengthBytes + rest.readUInt32LE()
      yield rest.subarray(lengthBytes, end)
      rest = rest.subarray(end)
    }
  }
  if (rest.length > 0) throw new AtollError('ATOLL_BAD_SNAPSHOT', 'the snapshot ends within a record')
}

async function clear (kv: Kv, generation: number): Promise<void> {
  let operations: KvOperation[] = []
  for await (const [key] of kv.iterate(new Keys(generation).everything())) {
    operations.push({ type: 'del', key })
    if (operations.length < restoreBatchKeys) continue
    await kv.batch(operations)
    operations = []
  }
  if (operations.length > 0) await kv.batch(operations)
}
