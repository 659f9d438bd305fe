import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { AtollError, messageOf } from '../../fsnode/protocol/errors.ts'
import { openLevelKv } from '../../fsnode/protocol/level-kv.ts'
import type { Kv, KvOperation } from '../../fsnode/protocol/ports.ts'
import { formatVersion, keys, restore, type Meta } from './core/durable.ts'
import type { DurableWrite } from './core/effects.ts'
import type { MasterState } from './core/state.ts'

/**
 * Opens the store of the embedded scheduler in `<workDir>/state`.
 * Rejects with ATOLL_DATA_DIR_UNUSABLE, ATOLL_ALREADY_RUNNING (another process has it open) or ATOLL_STORE_UNUSABLE.
 */
export async function openStore (workDir: string): Promise<Kv> {
  const directory = join(workDir, 'state')
  try {
    // Tasks' environments are in it.
    await mkdir(directory, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new AtollError('ATOLL_DATA_DIR_UNUSABLE', `cannot create ${directory}: ${messageOf(error)}`, {
      hint: 'choose a data directory that this user may write to'
    })
  }
  try {
    return await openLevelKv({ directory, cacheBytes: 1024 * 1024, writeBufferBytes: 1024 * 1024 })
  } catch (error) {
    if (!(error instanceof AtollError) || error.details.locked !== true) throw error
    throw new AtollError('ATOLL_ALREADY_RUNNING', `an embedded scheduler is running in ${workDir} already`, {
      hint: 'stop it first, or choose another data directory'
    })
  }
}

/** Rejects with ATOLL_STORE_UNUSABLE when the record is damaged or of another version. */
export async function readMeta (kv: Kv): Promise<Meta | undefined> {
  const value = kv.get(Buffer.from(keys.meta))
  if (value === undefined) {
    for await (const [key] of kv.iterate({ limit: 1 })) throw damaged(`the record ${keys.meta} is missing, but there is ${Buffer.from(key).toString()}`)
    return undefined
  }
  let meta: Meta
  try {
    meta = JSON.parse(Buffer.from(value).toString())
  } catch (error) {
    throw damaged(`the record ${keys.meta} is damaged: ${messageOf(error)}`)
  }
  if (meta.format !== formatVersion) throw damaged(`format ${meta.format} was written by another version; this one reads ${formatVersion}`)
  if (typeof meta.masterId !== 'string' || !Number.isInteger(meta.frameworkCount) || !Number.isInteger(meta.offerCountReserved)) throw damaged(`the record ${keys.meta} is incomplete`)
  return meta
}

/** Reads every record into the state. */
export async function restoreAll (kv: Kv, state: MasterState, meta: Meta): Promise<void> {
  state.frameworkCount = meta.frameworkCount
  state.offerCount = state.offerCountReserved = meta.offerCountReserved
  for await (const [key, value] of kv.iterate({})) {
    const name = Buffer.from(key).toString()
    if (name !== keys.meta) restore(state, name, Buffer.from(value).toString())
  }
  const agentOfTasks = [...state.tasks.values()].find(({ agentId }) => !state.agents.has(agentId))
  if (agentOfTasks !== undefined) throw damaged(`the agent of task ${agentOfTasks.key} is missing`)
  const byAge = [...state.completedFrameworks].sort(([, one], [, other]) => one.unregisteredMs - other.unregisteredMs)
  state.completedFrameworks = new Map(byAge)
}

export function kvOperations (writes: DurableWrite[]): KvOperation[] {
  return writes.map(({ key, value }) => value === undefined
    ? { type: 'del', key: Buffer.from(key) }
    : { type: 'put', key: Buffer.from(key), value: Buffer.from(JSON.stringify(value)) })
}

function damaged (what: string): AtollError {
  return new AtollError('ATOLL_STORE_UNUSABLE', `the store of the embedded scheduler: ${what}`)
}
