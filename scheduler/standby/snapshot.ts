import { gunzipSync, gzipSync } from 'node:zlib'
import { AtollError, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Kv, KvOperation } from '../../fsnode/protocol/ports.ts'

/** Records of the framework's store, as text: `prefix` picks them. */
export async function takeSnapshot (kv: Kv): Promise<Buffer> {
  const records: Record<string, string> = {}
  for await (const [key, value] of kv.iterate({})) {
    const name = Buffer.from(key).toString()
    if (!name.startsWith(ownPrefix)) records[name] = Buffer.from(value).toString()
  }
  return gzipSync(JSON.stringify(records))
}

/** What is this store's alone begins with it. */
export const ownPrefix = 'standby/'

/** Puts the records of a snapshot in place of all others. Rejects with ATOLL_STORE_CORRUPT, and changes nothing. */
export async function restoreSnapshot (kv: Kv, snapshot: Buffer): Promise<void> {
  let records: Record<string, string>
  try {
    records = JSON.parse(gunzipSync(snapshot).toString()) as Record<string, string>
  } catch (error) {
    throw new AtollError('ATOLL_STORE_CORRUPT', `the scheduler's state in the cluster is damaged: ${messageOf(error)}`)
  }
  const operations: KvOperation[] = []
  for await (const [key] of kv.iterate({})) {
    const name = Buffer.from(key).toString()
    if (!name.startsWith(ownPrefix) && !(name in records)) operations.push({ type: 'del', key })
  }
  // What was done after the copy is not in it: the framework looks around before it takes new places.
  if (records.framework !== undefined) records.framework = JSON.stringify({ ...JSON.parse(records.framework), restored: true })
  for (const [name, value] of Object.entries(records)) operations.push({ type: 'put', key: Buffer.from(name), value: Buffer.from(value) })
  await kv.batch(operations, { sync: true })
}
