import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { StatusReport } from '../../cli/commands/status.ts'
import type { ClusterFile } from '../../cli/data-directory.ts'
import { defaultJournal } from '../../fuse/mount/journal-owner.ts'

export const atoll = fileURLToPath(new URL('../../cli/atoll.js', import.meta.url))

/** A command that takes longer hangs. */
export const commandLimitMs = 90_000
const pollMs = 50

export interface Outcome { code: number | null, signal: NodeJS.Signals | null, stdout: string, stderr: string }

/** A command under way, with what it has written so far. */
export interface Running { child: ChildProcess, outcome: Promise<Outcome>, text: () => string }

export function start (argv: string[], { cwd, env, limitMs = commandLimitMs }: { cwd?: string, env?: NodeJS.ProcessEnv, limitMs?: number } = {}): Running {
  const child = spawn(argv[0]!, argv.slice(1), { cwd: cwd ?? '/', env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  child.stdout!.setEncoding('utf8').on('data', (text: string) => { stdout += text })
  child.stderr!.setEncoding('utf8').on('data', (text: string) => { stderr += text })
  const timer = setTimeout(() => { child.kill('SIGKILL') }, limitMs)
  const outcome = new Promise<Outcome>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      clearTimeout(timer)
      // Processes that it left behind may hold the pipes: what has come by now is all that counts.
      setTimeout(() => { resolve({ code, signal, stdout, stderr }) }, 20)
    })
  })
  outcome.catch(() => {})
  return { child, outcome, text: () => stdout + stderr }
}

export async function run (argv: string[], options: Parameters<typeof start>[1] = {}): Promise<Outcome> {
  return await start(argv, options).outcome
}

/** Runs a shell command that must succeed; its standard output. Whatever touches a mount goes through here. */
export async function sh (script: string, limitMs = commandLimitMs): Promise<string> {
  const { code, signal, stdout, stderr } = await run(['sh', '-c', script], { limitMs })
  if (code !== 0) throw new Error(`${script}\nended with ${signal ?? code}: ${stderr}${stdout}`)
  return stdout
}

export async function until (what: string, condition: () => boolean | Promise<boolean>, limitMs = 60_000): Promise<void> {
  for (const endMs = performance.now() + limitMs; !(await condition()); await delay(pollMs)) {
    if (performance.now() > endMs) throw new Error(`not within ${limitMs} ms: ${what}`)
  }
}

export function isAlive (pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

/** Processes that were started with this text in their arguments or their environment. */
export function processesNaming (text: string): number[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => pid !== process.pid && isAlive(pid) && ['cmdline', 'environ'].some((file) => {
    try {
      return readFileSync(`/proc/${pid}/${file}`, 'latin1').includes(text)
    } catch {
      return false
    }
  }))
}

export function mountsBelow (path: string): string[] {
  const points = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').map((line) => line.split(' ')[4] ?? '')
  return points.filter((point) => point === path || point.startsWith(`${path}/`)).reverse()
}

export function canMount (): boolean { return process.getuid?.() === 0 && existsSync('/dev/fuse') }

/** A directory of its own with a cluster in `data`, mounted on `mnt`. */
export class Place {
  readonly root = mkdtempSync('/tmp/atoll-e2e-')
  readonly data = join(this.root, 'data')
  readonly mount = join(this.root, 'mnt')

  path (...names: string[]): string { return join(this.root, ...names) }

  command (...words: string[]): string[] { return [process.execPath, atoll, ...words] }

  atoll (...words: string[]): Promise<Outcome> { return run(this.command(...words)) }

  upWords (...more: string[]): string[] { return ['up', '--data', this.data, '--mount', this.mount, ...more] }

  /** `atoll up --detach`, which must succeed. */
  async up (...more: string[]): Promise<Outcome> { return this.well(...this.upWords('--detach', ...more)) }

  async down (): Promise<Outcome> { return this.well('down', '--data', this.data) }

  async well (...words: string[]): Promise<Outcome> {
    const outcome = await this.atoll(...words)
    if (outcome.code !== 0) throw new Error(`atoll ${words.join(' ')} ended with ${outcome.signal ?? outcome.code}:\n${outcome.stderr}${outcome.stdout}`)
    return outcome
  }

  async status (): Promise<StatusReport> {
    const { stdout } = await this.well('status', '--json', '--data', this.data)
    return JSON.parse(stdout)
  }

  get clusterFile (): ClusterFile { return JSON.parse(readFileSync(join(this.data, 'cluster.json'), 'utf8')) }

  async untilHealthy (limitMs = 60_000): Promise<void> {
    let last = ''
    try {
      await until('healthy', async () => {
        const report = await this.status()
        last = JSON.stringify(report.problems)
        return report.health === 'healthy'
      }, limitMs)
    } catch (error) {
      throw new Error(`${String(error)}; problems: ${last}`)
    }
  }

  /** What belongs to the place and still runs or is mounted. */
  get leftovers (): { processes: number[], mounts: string[] } {
    return { processes: processesNaming(this.root), mounts: mountsBelow(this.root) }
  }

  /** Ends what is left, whatever state it is in, and removes everything. Mounts first: their users end then. */
  async clean (): Promise<void> {
    if (existsSync(join(this.data, 'cluster.json'))) await this.atoll('down', '--data', this.data).catch(() => {})
    for (let attempt = 0; attempt < 50; attempt++) {
      const { processes, mounts } = this.leftovers
      if (processes.length + mounts.length === 0) break
      for (const pid of processes) kill(pid, 'SIGKILL')
      for (const point of mounts) await run(['umount', '-l', point])
      await delay(100)
    }
    rmSync(this.root, { recursive: true, force: true })
    // Of mounts that did not end in order.
    rmSync(defaultJournal(this.mount), { force: true })
  }

  /** A directory within the place. */
  folder (...names: string[]): string {
    const path = this.path(...names)
    mkdirSync(path, { recursive: true })
    return path
  }
}

export function kill (pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // Gone already.
  }
}

export async function sumOf (path: string): Promise<string> {
  return (await sh(`sha256sum < '${path}'`)).split(' ')[0]!
}

/** Files of many sizes in nested folders, with links and modes: what people copy. */
export async function makeTree (path: string, files: number): Promise<void> {
  await sh(`
    mkdir -p '${path}'; cd '${path}'
    for d in 0 1 2 3 4 5 6 7; do mkdir -p "d$d/sub dir/deep"; done
    i=0
    while [ $i -lt ${files} ]; do
      d=$((i % 8)); size=$(( (i * 7919) % 40000 ))
      head -c $size /dev/urandom > "d$d/sub dir/file $i"
      i=$((i + 1))
    done
    head -c 3000000 /dev/urandom > d0/larger; : > d1/empty
    ln -s '../d0/larger' d1/link; ln -s /nowhere d2/dangling; ln d0/larger d3/second-name
    chmod 640 d0/larger; chmod 700 d4; touch -d '2001-02-03 04:05:06.789' 'd5/sub dir'
  `)
}

/** Waited for: elections may be under way. */
export async function managerLeader (place: Place): Promise<string> {
  let leader: string | undefined
  await until('a node leads the manager', async () => {
    for (const { id } of place.clusterFile.nodes) {
      const { code, stdout } = await place.atoll('node', 'show', id, '--json', '--data', place.data)
      const { groups } = (code === 0 ? JSON.parse(stdout) : { groups: [] }) as { groups: Array<{ id: string, role: string }> }
      if (groups.some((group) => group.id === 'manager' && group.role === 'leader')) leader = id
    }
    return leader !== undefined
  })
  return leader!
}

/** For sh: copies the folder 'source' of the place in again and again, verifies each copy from the nodes, and ends with the first error or when it is told to. */
export function copyLoop (place: Place): string {
  const [source, mount, stop] = [place.path('source'), place.mount, place.path('stop')]
  return `
    i=0
    (cd '${source}' && sha256sum *) > '${place.path('sums')}'
    while [ ! -e '${stop}' ]; do
      cp -a '${source}' '${mount}/copy-'$i || exit 1
      sync -f '${mount}/copy-'$i && echo 1 > /proc/sys/vm/drop_caches
      (cd '${mount}/copy-'$i && sha256sum --quiet -c '${place.path('sums')}') || exit 1
      rm -r '${mount}/copy-'$i || exit 1
      echo right $i
      i=$((i + 1))
    done`
}

/** How many copies such a loop has made and found right. */
export function copiesOf (loop: Running): number {
  return loop.text().split('\n').filter((line) => line.startsWith('right')).length
}
