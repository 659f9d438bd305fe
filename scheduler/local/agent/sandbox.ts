import { constants } from 'node:fs'
import { copyFile, lstat, mkdir, open, readdir, rename, rm, stat, symlink, truncate, type FileHandle } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { messageOf } from '../../../fsnode/protocol/errors.ts'
import type { Logger } from '../../../fsnode/protocol/ports.ts'
import { outputLengthMaxBytes, sandboxesKeptMax } from '../constants.ts'
import type { VolumePlace } from '../core/effects.ts'

export interface SandboxesInit { workDir: string }

/**
 * The directories of the agent, below its working directory:
 *   tasks/<task>/                          sandboxes, with the files stdout and stderr
 *   volumes/roles/<role>/<persistence id>  persistent volumes of the root disk; "/" in a role is written " "
 *   trash/                                 what is being removed
 * Volumes of a PATH disk lie below its root in the same way; that of a MOUNT disk is its root.
 */
export class Sandboxes {
  private readonly log: Logger
  private readonly workDir: string
  private trashCount = 0
  private emptying: Promise<void> = Promise.resolve()

  constructor (components: { log: Logger }, init: SandboxesInit) {
    this.log = components.log
    this.workDir = init.workDir
  }

  /** Whether the directories can be made and written to: rejects if not. */
  async prepare (): Promise<void> {
    for (const name of ['tasks', 'volumes/roles', 'trash']) await mkdir(join(this.workDir, name), { recursive: true })
    const probe = join(this.workDir, 'trash', 'probe')
    await (await open(probe, 'w')).close()
    await rm(probe)
    this.emptyTrash()
  }

  path (directory: string): string { return join(this.workDir, 'tasks', directory) }

  volumePath ({ role, id, source }: VolumePlace): string {
    if (source?.type === 'MOUNT') return source.mount!.root!
    return join(source === undefined ? this.workDir : source.path!.root!, 'volumes', 'roles', role.replaceAll('/', ' '), id)
  }

  async createVolume (volume: VolumePlace): Promise<void> {
    await mkdir(this.volumePath(volume), { recursive: true })
  }

  /** Gone from its place when this resolves; on the root disk its blocks are freed after that. */
  async destroyVolume (volume: VolumePlace): Promise<void> {
    const path = this.volumePath(volume)
    // What another disk holds cannot be moved to the trash of this one.
    if (volume.source?.type === 'MOUNT') for (const name of await readdir(path)) await rm(join(path, name), { recursive: true, force: true })
    else if (volume.source?.type === 'PATH') await rm(path, { recursive: true, force: true })
    else await this.discard(path)
  }

  /** A new sandbox, in which each volume is a symbolic link at its container path. */
  async create (directory: string, volumes: Array<VolumePlace & { containerPath: string }>): Promise<string> {
    const path = this.path(directory)
    await this.discard(path)
    await mkdir(path, { recursive: true })
    for (const volume of volumes) {
      await this.createVolume(volume)
      const link = join(path, volume.containerPath)
      await mkdir(dirname(link), { recursive: true })
      await symlink(this.volumePath(volume), link)
    }
    return path
  }

  /** Opened for appending, so that it may be cut while a task writes. */
  openOutput (directory: string, name: 'stdout' | 'stderr'): Promise<FileHandle> {
    return open(join(this.path(directory), name), constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND, 0o644)
  }

  /** Moves the content of a long stdout or stderr aside. What is written between copy and cut is lost. */
  async limitOutput (directory: string): Promise<void> {
    for (const name of ['stdout', 'stderr']) {
      const path = join(this.path(directory), name)
      try {
        if ((await stat(path)).size <= outputLengthMaxBytes) continue
        await copyFile(path, `${path}.1`)
        await truncate(path, 0)
      } catch (error) {
        this.log.debug('the output of a task was not limited', { path, error: messageOf(error) })
      }
    }
  }

  /** Removes all but the newest sandboxes of tasks that are not alive. */
  async prune (alive: Set<string>): Promise<void> {
    const tasks = join(this.workDir, 'tasks')
    const ended = (await readdir(tasks)).filter((name) => !alive.has(name))
    if (ended.length <= sandboxesKeptMax) return
    const ages = await Promise.all(ended.map(async (name) => ({ name, mtimeMs: (await stat(join(tasks, name))).mtimeMs })))
    ages.sort((one, other) => other.mtimeMs - one.mtimeMs)
    for (const { name } of ages.slice(sandboxesKeptMax)) await this.discard(join(tasks, name))
  }

  /** Resolves when nothing is being removed any more. */
  async settled (): Promise<void> { await this.emptying }

  private async discard (path: string): Promise<void> {
    try {
      await lstat(path)
    } catch {
      return
    }
    await rename(path, join(this.workDir, 'trash', `${process.pid}-${this.trashCount++}-${performance.timeOrigin.toFixed(0)}`))
    this.emptyTrash()
  }

  private emptyTrash (): void {
    const trash = join(this.workDir, 'trash')
    this.emptying = this.emptying.then(async () => {
      for (const name of await readdir(trash)) await rm(join(trash, name), { recursive: true, force: true })
    }).catch((error: unknown) => { this.log.warn('the trash was not emptied', { trash, error: messageOf(error) }) })
  }
}
