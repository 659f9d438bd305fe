import { mkdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AtollError, messageOf } from '../../fsnode/protocol/errors.ts'
import { openLevelKv } from '../../fsnode/protocol/level-kv.ts'
import { createLogger } from '../../fsnode/protocol/pino-log.ts'
import { systemClock, systemRandom } from '../../fsnode/protocol/system.ts'
import { startFramework } from '../../scheduler/framework/index.ts'
import { httpMasterClient } from '../../scheduler/mesos/client.ts'

export interface MasterOptions {
  master?: string
  data?: string
  nodes: number
  role: string
  principal: string
  secretFile?: string
  nodesPerAgent: number
  cpus: number
  mem: number
  disk: number
  nodeCommand?: string
}

export const stateDirectoryDefault = './atoll-scheduler'

/** The framework against real masters. Runs until SIGTERM; the nodes go on without it. */
export async function schedulerOnMaster (options: MasterOptions): Promise<void> {
  if (options.master === undefined) {
    throw new AtollError('ATOLL_USAGE', 'which master?', { hint: 'atoll scheduler --master HOST:PORT; for a cluster on this machine: atoll up' })
  }
  const directory = resolve(options.data ?? stateDirectoryDefault)
  mkdirSync(directory, { recursive: true })
  const log = createLogger('scheduler')
  const components = { clock: systemClock, random: systemRandom, log }
  const kv = await openLevelKv({ directory: join(directory, 'framework') })
  const framework = await startFramework({ ...components, kv, masterClientFactory: httpMasterClient(components) }, {
    masters: options.master.split(','),
    role: options.role,
    principal: options.principal,
    ...(options.secretFile !== undefined && { secret: readSecret(options.secretFile) }),
    name: 'atoll',
    nodes: options.nodes,
    nodesPerAgentMax: options.nodesPerAgent,
    resources: { cpus: options.cpus, memMb: options.mem, diskMb: options.disk },
    nodeCommand: options.nodeCommand !== undefined
      ? { value: options.nodeCommand }
      : { arguments: [process.execPath, fileURLToPath(new URL('../../fsnode/server/main.ts', import.meta.url))] }
  })
  framework.onChange(() => { log.debug('changed', { status: framework.status() }) })
  await new Promise<void>((resolve) => {
    process.once('SIGTERM', () => { resolve() }).once('SIGINT', () => { resolve() })
  })
  await framework.close()
  await kv.close()
}

function readSecret (path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch (error) {
    throw new AtollError('ATOLL_USAGE', `cannot read the secret: ${messageOf(error)}`, { hint: '--secret-file PATH' })
  }
}
