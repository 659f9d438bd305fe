import { spawn } from 'node:child_process'
import { openSync, readFileSync, writeFileSync } from 'node:fs'
import { AtollError, codeOf, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Logger } from '../../fsnode/protocol/ports.ts'
import { maxWriteBytes } from '../protocol/constants.ts'

export const devicePath = '/dev/fuse'
export const fileSystemType = 'fuse.atoll'
/** Read-ahead in KiB: one request of the greatest size. INIT can only lower the kernel's 128. */
const readAheadKb = maxWriteBytes / 1024
/** How long mount(8), umount(8) and stat(1) may take, in milliseconds. */
const commandTimeoutMs = 10_000

export interface MountInfo {
  /** `major:minor`, as in st_dev. */
  device: string
  path: string
  type: string
  source: string
}

/** Everything mounted in this mount namespace; later mounts on one path come later. */
export function mountTable (text = readFileSync('/proc/self/mountinfo', 'utf8')): MountInfo[] {
  return text.split('\n').filter((line) => line !== '').map((line) => {
    const [left = '', right = ''] = line.split(' - ')
    const fields = left.split(' ')
    const [type = '', source = ''] = right.split(' ')
    return { device: fields[2] ?? '', path: unescapeOctal(fields[4] ?? ''), type, source: unescapeOctal(source) }
  })
}

/** The topmost mount on exactly this path. */
export function mountedAt (path: string): MountInfo | null {
  return mountTable().findLast((mount) => mount.path === path) ?? null
}

function unescapeOctal (text: string): string {
  if (!text.includes('\\')) return text
  // The kernel escapes single bytes, and the rest may be UTF-8: both are treated as bytes.
  return Buffer.from(
    Buffer.from(text, 'utf8').toString('latin1').replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8))),
    'latin1'
  ).toString('utf8')
}

/** Rejects with ATOLL_NO_FUSE_DEVICE. */
export function openDevice (): number {
  try {
    return openSync(devicePath, 'r+')
  } catch (error) {
    throw new AtollError('ATOLL_NO_FUSE_DEVICE', `cannot open ${devicePath}: ${messageOf(error)}`, { hint: 'load the kernel module: modprobe fuse' })
  }
}

export interface KernelMountInit {
  fd: number
  path: string
  /** What mount(8) shows as the device. */
  source: string
  /** More options for mount(8), such as 'nosuid', 'ro'. */
  options?: readonly string[]
}

/** Mounts with a descriptor of /dev/fuse. Returns before the file system answers: INIT waits on the descriptor. */
export async function mountKernel ({ fd, path, source, options = [] }: KernelMountInit): Promise<void> {
  const data = ['fd=3', 'rootmode=40000', 'user_id=0', 'group_id=0', 'default_permissions', 'allow_other', `max_read=${maxWriteBytes}`, ...options].join(',')
  // -i: without /sbin/mount.fuse, which would open a device of its own.
  const { status, output } = await run('mount', ['-i', '-t', fileSystemType, '-o', data, source, path], fd)
  if (status !== 0) {
    throw new AtollError('ATOLL_MOUNT_FAILED', `cannot mount on ${path}: ${output}`, { hint: `see what the kernel says: dmesg | tail; and what is there: findmnt ${path}` })
  }
}

/** False when it is busy (or was not mounted). A lazy unmount hides it now and ends when the last user leaves. */
export async function unmountKernel (path: string, { lazy }: { lazy: boolean }): Promise<boolean> {
  const { status } = await run('umount', lazy ? ['-l', '-i', path] : ['-i', path])
  return status === 0
}

/** After INIT was answered: it resets what this raises. */
export function tuneMount (path: string, log: Logger): void {
  const mount = mountedAt(path)
  if (mount === null) return
  try {
    writeFileSync(`/sys/class/bdi/${mount.device}/read_ahead_kb`, String(readAheadKb))
  } catch (error) {
    log.warn('cannot raise the read-ahead of the mount: sequential reads will be slower', { path, code: codeOf(error) })
  }
}

/** Whether a mount there has lost its server. Asks in a child process: a server that hangs would hang this one. */
export async function isDisconnected (path: string): Promise<boolean> {
  const { status, output } = await run('stat', ['-f', path])
  return status !== 0 && /Transport endpoint is not connected/.test(output)
}

interface RunResult { status: number | null, output: string }

function run (command: string, args: string[], inherited?: number): Promise<RunResult> {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      stdio: inherited === undefined ? ['ignore', 'ignore', 'pipe'] : ['ignore', 'ignore', 'pipe', inherited],
      env: { ...process.env, LC_ALL: 'C' },
      timeout: commandTimeoutMs,
      killSignal: 'SIGKILL'
    })
    let output = ''
    child.stderr!.setEncoding('utf8').on('data', (text: string) => { output += text })
    child.on('error', (error) => { resolve({ status: null, output: messageOf(error) }) })
    child.on('close', (status) => { resolve({ status, output: output.trim() }) })
  })
}
