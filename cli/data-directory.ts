import { createHash } from 'node:crypto'
import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AtollError, codeOf, messageOf } from '../fsnode/protocol/errors.ts'
import type { Address } from '../fsnode/protocol/ports.ts'
import { findByArguments, findByEnvironment, identify, isAlive, type ProcessId } from '../fsnode/protocol/processes.ts'

/** What the embedded scheduler writes for the commands: where the cluster is and how it was asked for. */
export interface ClusterFile {
  format: 1
  clusterId: string
  scheduler: ProcessId & { url: string }
  nodes: Array<Address & { id: string }>
  /** Nodes that do not stay up: each attempt is logged in their sandbox. */
  failing: Array<{ id: string, attempts: number, reason: string }>
  settings: ClusterSettings
}

/** Written by a scheduler when the directory is its own, before anything else: also while `ClusterFile` is not there. */
export interface SchedulerFile { process: ProcessId, settings: ClusterSettings }

export interface ClusterSettings { nodes: number, replicas: number, placement: 'hawaii' | 'tivoli' }

/** One mounted volume; written by whoever mounted it. */
export interface MountRecord { volume: string, path: string, holder: ProcessId }

/** The folder of an embedded cluster. */
export class DataDirectory {
  readonly path: string

  constructor (path: string) { this.path = path }

  get clusterFile (): string { return join(this.path, 'cluster.json') }
  private get schedulerFile (): string { return join(this.schedulerDirectory, 'process.json') }
  get schedulerDirectory (): string { return join(this.path, 'scheduler') }
  get mountsDirectory (): string { return join(this.path, 'mounts') }
  log (name: string): string { return join(this.path, 'logs', `${name}.log`) }

  /** Of the holder and the workers of a mount. */
  mountLog (path: string): string { return this.log(`mount-${fileNameOf(path)}`) }

  /** What a node wrote last to its standard error, or null when it never ran here. */
  nodeLog (id: string): string | null {
    const tasks = join(this.schedulerDirectory, 'master', 'tasks')
    try {
      const files = readdirSync(tasks).filter((name) => name.startsWith(`${id}.`)).map((name) => join(tasks, name, 'stderr')).filter((file) => existsSync(file))
      return files.sort((one, other) => statSync(other).mtimeMs - statSync(one).mtimeMs)[0] ?? null
    } catch {
      return null
    }
  }

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
    const file = parse(text, isSound)
    if (file === null) {
      throw new AtollError('ATOLL_CLUSTER_FILE_CORRUPT', `${this.clusterFile} cannot be understood`, {
        hint: `the data itself is not affected; remove that file, then start the cluster again: rm ${this.clusterFile} && atoll up --data ${this.path}`
      })
    }
    return file
  }

  writeCluster (file: ClusterFile): void { replaceFile(this.clusterFile, file) }

  /** Schedulers of this directory, also when it was removed and made anew meanwhile. */
  schedulerProcesses (): ProcessId[] { return findByArguments(this.schedulerWords) }

  /** How a scheduler of this directory is started, and so recognized. */
  get schedulerWords (): string[] { return ['scheduler', '--embedded', '--data', this.path] }

  /** The processes that a scheduler launched for this cluster, whether it is still there or not. */
  nodeProcesses (): ProcessId[] {
    const tasks = join(realPath(this.schedulerDirectory), 'master', 'tasks')
    return findByEnvironment('MESOS_SANDBOX', (sandbox) => realPath(sandbox).startsWith(`${tasks}/`))
  }

  /** null when no scheduler ever had the directory. */
  readScheduler (): SchedulerFile | null {
    return readJson(this.schedulerFile, (file: SchedulerFile) => typeof file.process.pid === 'number' && typeof file.settings.nodes === 'number')
  }

  writeScheduler (file: SchedulerFile): void { replaceFile(this.schedulerFile, file) }

  /** Until `removeStopper`, or its end, this process is known to stop what runs here. Only told: a full disk keeps nobody from stopping. */
  addStopper (): void {
    try {
      replaceFile(this.stopperFile(process.pid), identify(process.pid))
    } catch {
      // Others see then that it stops when it has stopped.
    }
  }

  removeStopper (): void { rmSync(this.stopperFile(process.pid), { force: true }) }

  /** Other processes that are stopping what runs here: a command, or the scheduler, which ends its nodes. */
  stoppers (): ProcessId[] {
    let names: string[]
    try {
      names = readdirSync(this.schedulerDirectory).filter((name) => /^stopping\.\d+\.json$/.test(name))
    } catch {
      return []
    }
    const found = names.map((name) => readJson(join(this.schedulerDirectory, name), (id: ProcessId) => typeof id.pid === 'number'))
    return found.filter((id) => id !== null).filter((id) => id.pid !== process.pid && isAlive(id))
  }

  private stopperFile (pid: number): string { return join(this.schedulerDirectory, `stopping.${pid}.json`) }

  mounts (): MountRecord[] {
    let names: string[]
    try {
      names = readdirSync(this.mountsDirectory)
    } catch {
      return []
    }
    const isMount = (record: MountRecord): boolean => typeof record.path === 'string' && typeof record.holder.pid === 'number'
    const records = names.filter((name) => name.endsWith('.json')).map((name) => readJson(join(this.mountsDirectory, name), isMount))
    return records.filter((record) => record !== null)
  }

  liveMounts (): MountRecord[] { return this.mounts().filter((mount) => isAlive(mount.holder)) }

  addMount (record: MountRecord): void {
    mkdirSync(this.mountsDirectory, { recursive: true })
    replaceFile(this.mountFile(record), record)
  }

  removeMount (record: MountRecord): void { rmSync(this.mountFile(record), { force: true }) }

  private mountFile (record: MountRecord): string {
    return join(this.mountsDirectory, `${fileNameOf(record.path)}.json`)
  }
}

function realPath (path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}

/** Short enough for a file name, readable, and another one for each path. */
function fileNameOf (path: string): string {
  const readable = path.replace(/[^A-Za-z0-9._-]+/g, '-').slice(-60)
  return `${createHash('sha256').update(path).digest('hex').slice(0, 8)}${readable}`
}

function readIfThere (path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null
    throw new AtollError('ATOLL_DATA_DIR_UNUSABLE', `cannot read ${path}: ${messageOf(error)}`, { hint: 'check who owns it: ls -ld ' + path })
  }
}

function isSound (file: ClusterFile): boolean {
  return file.format === 1 && typeof file.clusterId === 'string' && typeof file.scheduler.pid === 'number' &&
    typeof file.scheduler.url === 'string' && Array.isArray(file.nodes) && Array.isArray(file.failing) && typeof file.settings.nodes === 'number' &&
    file.nodes.every((node) => typeof node.host === 'string' && typeof node.port === 'number')
}

function parse<T> (text: string, isSound: (value: T) => boolean): T | null {
  try {
    const value = JSON.parse(text) as T
    return isSound(value) ? value : null
  } catch {
    return null
  }
}

/** null when it is not there, or not whole: it is written anew by whoever it belongs to. */
function readJson<T> (path: string, isSound: (value: T) => boolean): T | null {
  try {
    return parse(readFileSync(path, 'utf8'), isSound)
  } catch {
    return null
  }
}

/** A reader sees the old file or the new one. */
function replaceFile (path: string, value: unknown): void {
  const temporary = `${path}.${process.pid}.new`
  writeFileSync(temporary, JSON.stringify(value, null, 2) + '\n')
  renameSync(temporary, path)
}
