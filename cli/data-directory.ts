import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync, accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { AtollError, codeOf, messageOf } from '../fsnode/protocol/errors.ts'
import type { Address } from '../fsnode/protocol/ports.ts'
import { isAlive, type ProcessId } from './processes.ts'

/** What the embedded scheduler writes for the commands: where the cluster is and how it was asked for. */
export interface ClusterFile {
  format: 1
  clusterId: string
  scheduler: ProcessId & { url: string }
  nodes: Array<Address & { id: string }>
  settings: ClusterSettings
}

export interface ClusterSettings { nodes: number, replicas: number, placement: 'hawaii' | 'tivoli' }

/** One mounted volume; written by whoever mounted it. */
export interface MountRecord { volume: string, path: string, holder: ProcessId }

/** The folder of an embedded cluster. */
export class DataDirectory {
  readonly path: string

  constructor (path: string) { this.path = path }

  get clusterFile (): string { return join(this.path, 'cluster.json') }
  get schedulerDirectory (): string { return join(this.path, 'scheduler') }
  get mountsDirectory (): string { return join(this.path, 'mounts') }
  log (name: string): string { return join(this.path, 'logs', `${name}.log`) }

  /** Makes the folders. Throws ATOLL_DATA_DIR_UNUSABLE. */
  prepare (): void {
    try {
      for (const name of ['scheduler', 'mounts', 'logs']) mkdirSync(join(this.path, name), { recursive: true })
      accessSync(this.path, constants.R_OK | constants.W_OK | constants.X_OK)
      writeFileSync(join(this.path, 'logs', '.probe'), 'probe')
      rmSync(join(this.path, 'logs', '.probe'))
    } catch (error) {
      throw new AtollError('ATOLL_DATA_DIR_UNUSABLE', `cannot use the data directory ${this.path}: ${messageOf(error)}`, {
        hint: codeOf(error) === 'ENOSPC'
          ? `free some space there (df -h ${this.path}), or choose another place: atoll up --data DIR`
          : 'choose a directory that can be written: atoll up --data DIR'
      })
    }
  }

  /** null when no cluster was started here. Throws ATOLL_CLUSTER_FILE_CORRUPT. */
  readCluster (): ClusterFile | null {
    const text = readIfThere(this.clusterFile)
    if (text === null) return null
    const file = parseCluster(text)
    if (file === null) {
      throw new AtollError('ATOLL_CLUSTER_FILE_CORRUPT', `${this.clusterFile} cannot be understood`, {
        hint: `the data itself is not affected; remove that file, then start the cluster again: rm ${this.clusterFile} && atoll up --data ${this.path}`
      })
    }
    return file
  }

  writeCluster (file: ClusterFile): void { replaceFile(this.clusterFile, file) }

  mounts (): MountRecord[] {
    let names: string[]
    try {
      names = readdirSync(this.mountsDirectory)
    } catch {
      return []
    }
    const records = names.filter((name) => name.endsWith('.json')).map((name) => readMount(join(this.mountsDirectory, name)))
    return records.filter((record) => record !== null)
  }

  liveMounts (): MountRecord[] { return this.mounts().filter((mount) => isAlive(mount.holder)) }

  addMount (record: MountRecord): void {
    mkdirSync(this.mountsDirectory, { recursive: true })
    replaceFile(this.mountFile(record), record)
  }

  removeMount (record: MountRecord): void { rmSync(this.mountFile(record), { force: true }) }

  private mountFile (record: MountRecord): string {
    return join(this.mountsDirectory, `${encodeURIComponent(record.path)}.json`)
  }
}

function readIfThere (path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null
    throw new AtollError('ATOLL_DATA_DIR_UNUSABLE', `cannot read ${path}: ${messageOf(error)}`, { hint: 'check who owns it: ls -ld ' + path })
  }
}

function parseCluster (text: string): ClusterFile | null {
  try {
    const file = JSON.parse(text) as ClusterFile
    const sound = file.format === 1 && typeof file.clusterId === 'string' && typeof file.scheduler.pid === 'number' &&
      typeof file.scheduler.url === 'string' && Array.isArray(file.nodes) && typeof file.settings.nodes === 'number' &&
      file.nodes.every((node) => typeof node.host === 'string' && typeof node.port === 'number')
    return sound ? file : null
  } catch {
    return null
  }
}

function readMount (path: string): MountRecord | null {
  try {
    const record = JSON.parse(readFileSync(path, 'utf8')) as MountRecord
    return typeof record.path === 'string' && typeof record.holder.pid === 'number' ? record : null
  } catch {
    return null // half written by a process that was killed: the mount never came up
  }
}

/** A reader sees the old file or the new one. */
function replaceFile (path: string, value: unknown): void {
  const temporary = `${path}.${process.pid}.new`
  writeFileSync(temporary, JSON.stringify(value, null, 2) + '\n')
  renameSync(temporary, path)
}
