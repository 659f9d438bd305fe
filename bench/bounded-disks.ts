import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const throttles = '/sys/fs/cgroup/blkio'
const memory = '/sys/fs/cgroup/memory'
/** What the kernel may hold of writes to a disk: else it would be seconds of them where a disk is slow. */
const heldBackBytes = 8 * 1024 * 1024

/** What this machine lacks for disks with a bound; null: nothing. */
export function whyNoBoundedDisks (): string | null {
  if (process.getuid?.() !== 0) return 'it takes root to mount loop devices'
  if (!existsSync('/dev/loop-control')) return 'there are no loop devices'
  if (!existsSync(join(throttles, 'blkio.throttle.read_bps_device'))) return `the kernel throttles no block devices in ${throttles} (cgroup v1, CONFIG_BLK_DEV_THROTTLING)`
  return existsSync(join(memory, 'memory.limit_in_bytes')) ? null : `there is no memory controller in ${memory} (cgroup v1)`
}

/** A file system of its own on a loop device whose bytes per second the kernel bounds, like a disk of that speed. */
export class BoundedDisk {
  readonly image: string
  private device = ''
  private mounted: string | null = null

  constructor (image: string) {
    this.image = image
  }

  async create (bytes: number): Promise<void> {
    writeFileSync(this.image, '')
    truncateSync(this.image, bytes)
    this.device = (await run('losetup', ['--find', '--show', this.image])).stdout.trim()
    await run('mkfs.ext4', ['-q', '-E', 'nodiscard,lazy_itable_init=0,lazy_journal_init=0', '-m', '0', this.device])
  }

  /** At `path`, with what was there before. */
  async mountOver (path: string): Promise<void> {
    const before = `${this.image}.d`
    mkdirSync(before)
    await run('mount', [this.device, before])
    await run('cp', ['-a', `${path}/.`, before])
    await run('umount', [before])
    rmdirSync(before)
    await run('mount', [this.device, path])
    this.mounted = path
    const writeback = `/sys/class/bdi/${this.number}`
    writeFileSync(join(writeback, 'strict_limit'), '1')
    writeFileSync(join(writeback, 'max_bytes'), String(heldBackBytes))
  }

  /** Bytes per second in each direction, whoever reads or writes; null: as fast as it goes. */
  bound (read: number | null, write: number | null): void {
    writeFileSync(join(throttles, 'blkio.throttle.read_bps_device'), `${this.number} ${read ?? 0}`)
    writeFileSync(join(throttles, 'blkio.throttle.write_bps_device'), `${this.number} ${write ?? 0}`)
  }

  /** MAJOR:MINOR. */
  private get number (): string { return readFileSync(`/sys/block/${this.device.replace('/dev/', '')}/dev`, 'utf8').trim() }

  async remove (): Promise<void> {
    if (this.device === '') return
    this.bound(null, null)
    if (this.mounted !== null) await run('umount', [this.mounted])
    await run('losetup', ['--detach', this.device])
    unlinkSync(this.image)
    this.device = ''
  }
}

/** Bounds what processes take with the kernel's cache of their files: else all reads would come from there. */
export class MemoryGroups {
  private readonly root = join(memory, `atoll-bench-${process.pid}`)

  bound (name: string, pid: number, bytes: number): void {
    const group = join(this.root, name)
    mkdirSync(group, { recursive: true })
    writeFileSync(join(group, 'memory.limit_in_bytes'), String(bytes))
    writeFileSync(join(group, 'cgroup.procs'), String(pid))
  }

  /** Once their processes have ended. */
  remove (): void {
    if (!existsSync(this.root)) return
    for (const entry of readdirSync(this.root, { withFileTypes: true })) if (entry.isDirectory()) rmdirSync(join(this.root, entry.name))
    rmdirSync(this.root)
  }
}
