import { Level } from 'level'
import { AtollError, codeOf, messageOf } from './errors.ts'
import type { Kv, KvOperation, KvRange } from './ports.ts'

export interface LevelKvInit {
  directory: string
  /** Bytes of cached blocks. */
  cacheBytes?: number
  writeBufferBytes?: number
}

const binary = { keyEncoding: 'view', valueEncoding: 'view' } as const

/**
 * Opens (or creates) a LevelDB. Rejects with ATOLL_STORE_UNUSABLE: locked by another opener (then
 * `details.locked` is true), damaged or unreadable.
 */
export async function openLevelKv (init: LevelKvInit): Promise<Kv> {
  const db = new Level<Uint8Array, Uint8Array>(init.directory, {
    ...binary,
    cacheSize: init.cacheBytes ?? 8 * 1024 * 1024,
    writeBufferSize: init.writeBufferBytes ?? 4 * 1024 * 1024
  })
  try {
    await db.open()
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? messageOf(error.cause) : messageOf(error)
    const locked = error instanceof Error && codeOf(error.cause) === 'LEVEL_LOCKED'
    throw new AtollError('ATOLL_STORE_UNUSABLE', `cannot open the store in ${init.directory}: ${cause}`, { locked })
  }
  return {
    get: (key) => db.getSync(key),
    batch: (operations: KvOperation[], { sync = false } = {}) => db.batch(operations, { sync }),
    iterate: (range: KvRange) => db.iterator(range),
    close: () => db.close()
  }
}
