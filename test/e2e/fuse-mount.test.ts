import { execFile, fork, spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect } from 'chai'
import { codeOf } from '../../fsnode/protocol/errors.ts'
import { mountedAt, mountTable, unmountKernel } from '../../fuse/device/mounts.ts'
import { clearDeadJournals, defaultJournal } from '../../fuse/mount/journal-owner.ts'
import { startMount, type StartedMount } from '../../fuse/mount/start.ts'
import type { MountInit } from '../../fuse/mount/types.ts'

/*
 * Real mounts. What touches one runs in a child process: this one must stay able to unmount. Nothing
 * is served from here either: holder and worker are processes of their own.
 */

const memoryFactory = new URL('../fuse/memory-volume-factory.ts', import.meta.url).href
const sharedFactory = new URL('../fuse/shared-volume-factory.ts', import.meta.url).href
const stuckFactory = new URL('../fuse/stuck-volume-factory.ts', import.meta.url).href
const remoteFactory = new URL('../fuse/remote-volume.ts', import.meta.url).href
const canMount = process.getuid?.() === 0
const killsOfWorkers = 4
/** What takes longer hangs. */
const shellLimitMs = 60_000
const untilLimitMs = 30_000

let directory: string
let mountPoint: string
const mounts: StartedMount[] = []
const children: ChildProcess[] = []

async function mount (init: Partial<MountInit> = {}): Promise<StartedMount> {
  const mounted = await startMount({ mountPoint, factory: memoryFactory, options: null, logFile: join(directory, 'mount.log'), ...init })
  mounts.push(mounted)
  return mounted
}

/** Runs a script with the mount as its working directory; rejects with what it said when it fails. */
async function shell (script: string, options: { timeout?: number } = {}): Promise<string> {
  const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', `cd ${mountPoint}; ${script}`], { timeout: options.timeout ?? shellLimitMs, killSignal: 'SIGKILL', env: { ...process.env, LC_ALL: 'C', OUT: directory } })
  return stdout.trim()
}

async function rejection (outcome: Promise<unknown>): Promise<{ code: string, hint: unknown }> {
  try {
    await outcome
  } catch (error) {
    return { code: codeOf(error), hint: (error as { details?: { hint?: unknown } }).details?.hint }
  }
  throw new Error('it succeeded')
}

/** The processes that a holder has started. */
function childrenOf (pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter((word) => word !== '').map(Number)
}

async function until (condition: () => boolean, what: string): Promise<void> {
  const end = performance.now() + untilLimitMs
  while (!condition()) {
    if (performance.now() > end) throw new Error(`${what} did not come about`)
    await new Promise((resolve) => { setTimeout(resolve, 5) })
  }
}

async function startVolumeServer (environment: Record<string, string> = {}): Promise<string> {
  const path = join(directory, 'volume.sock')
  const server = fork(fileURLToPath(new URL('../fuse/volume-server.ts', import.meta.url)), [path], { env: { ...process.env, ...environment } })
  children.push(server)
  await new Promise((resolve, reject) => { server.once('message', resolve).once('exit', reject) })
  return path
}

describe('fuse mount', function () {
  this.timeout(90_000)

  before(function () { if (!canMount) this.skip() })

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'atoll-mount-'))
    mountPoint = join(directory, 'mnt')
    mkdirSync(mountPoint)
  })

  afterEach(async function () {
    if (this.currentTest?.state === 'failed') console.error(readdirSync(directory).includes('mount.log') ? readFileSync(join(directory, 'mount.log'), 'utf8') : 'no log')
    await Promise.allSettled(mounts.splice(0).map((mounted) => mounted.stop()))
    for (const child of children.splice(0)) child.kill('SIGKILL')
    for (const { path } of mountTable().filter(({ path }) => path.startsWith(directory)).reverse()) await unmountKernel(path, { lazy: true })
    rmSync(directory, { recursive: true })
  })

  describe('over a volume in memory', () => {
    it('shows as atoll, with its source and options, and raised read-ahead', async () => {
      await mount({ source: 'atoll:main' })
      expect(await shell(`findmnt -no SOURCE,FSTYPE ${mountPoint} | tr -s ' '`)).to.equal('atoll:main fuse.atoll')
      const { device } = mountedAt(mountPoint)!
      expect(readFileSync(`/sys/class/bdi/${device}/read_ahead_kb`, 'utf8').trim()).to.equal('1024')
      expect(readFileSync('/proc/self/mounts', 'utf8')).to.match(/fuse\.atoll rw,nosuid,nodev,.*default_permissions,allow_other/)
      expect(await shell('stat -f -c "%s %l" .')).to.equal('4096 255')
    })

    it('files: create, append, read, truncate, times, modes, owners', async () => {
      await mount()
      expect(await shell(`
        echo hello > a; echo world >> a; cat a
        truncate -s 3 a; cat a; echo
        truncate -s 100000 a; cmp <(head -c 3 a; head -c 99997 /dev/zero) a
        touch -d '2001-02-03 04:05:06.123456789 UTC' a; stat -c '%y' a
        chmod 6751 a; chown 12:34 a; stat -c '%a %u %g %s %h' a
        printf x | dd of=a bs=1 seek=50 conv=notrunc status=none; dd if=a bs=1 skip=50 count=1 status=none; echo
        : > a; stat -c %s a
      `)).to.equal(['hello', 'world', 'hel', '2001-02-03 04:05:06.123456789 +0000', '751 12 34 100000 1', 'x', '0'].join('\n'))
    })

    it('directories, links, symbolic links, renames, special files and attributes', async () => {
      await mount()
      expect(await shell(`
        mkdir -p d/e/f; echo one > d/e/f/file; ln d/e/f/file hard; ln -s d/e/f/file soft
        cat soft; stat -c %h hard; readlink soft
        mv d/e moved; ls moved/f; stat -c %h d .
        echo two > other; mv other hard; cat hard; cat moved/f/file
        mkfifo pipe; stat -c %F pipe
        rmdir d; rm -r moved; ls -A | sort | tr '\\n' ' '; echo
        ls moved 2>&1 || true
        rmdir . 2>/dev/null || echo refused
      `)).to.equal(['one', '2', 'd/e/f/file', 'file', '2', '4', 'two', 'one', 'fifo', 'hard pipe soft ', "ls: cannot access 'moved': No such file or directory", 'refused'].join('\n'))
      expect(await shell(`python3 - <<'END'
import os, errno
open('x', 'w').close(); open('y', 'w').close()
os.setxattr('x', 'user.k', b'v'); print(os.getxattr('x', 'user.k'), os.listxattr('x')); os.removexattr('x', 'user.k')
try: os.getxattr('x', 'user.k')
except OSError as e: print(errno.errorcode[e.errno])
try: os.open('x', os.O_CREAT | os.O_EXCL)
except OSError as e: print(errno.errorcode[e.errno])
try: os.mkdir('n' * 256)
except OSError as e: print(errno.errorcode[e.errno])
try: os.rename('x', 'no/such')
except OSError as e: print(errno.errorcode[e.errno])
END`)).to.equal(["b'v' ['user.k']", 'ENODATA', 'EEXIST', 'ENAMETOOLONG', 'ENOENT'].join('\n'))
    })

    it('an unlinked file stays readable and writable while it is open', async () => {
      await mount()
      expect(await shell(`
        echo before > f; exec 3<>f; rm f; ls -A
        cat <&3; echo after >&3; cat /proc/self/fd/3; stat -L -c %h /proc/self/fd/3
      `)).to.equal('before\nbefore\nafter\n0')
    })

    it('a big file keeps its checksum, through the cache, past it, and mapped', async () => {
      await mount()
      const output = await shell(`
        head -c 40000000 /dev/urandom > "$OUT/big"; cp "$OUT/big" big
        sha256sum < "$OUT/big"; sha256sum < big
        dd if=big iflag=direct bs=1M status=none | sha256sum
        dd if="$OUT/big" of=direct oflag=direct bs=1M conv=notrunc status=none; sha256sum < direct
        python3 -c "
import mmap, hashlib
f = open('big', 'r+b'); m = mmap.mmap(f.fileno(), 0)
print(hashlib.sha256(m).hexdigest() + '  -')
m[1000:1004] = b'MMAP'; m.flush(); m.close()
f.seek(1000); print(f.read(4))"
        sync -f big
      `)
      const [reference, ...others] = output.split('\n')
      expect(others).to.deep.equal([reference, reference, reference, reference, "b'MMAP'"])
    })

    it('a tree copied with cp -a is the same tree', async () => {
      await mount()
      const source = fileURLToPath(new URL('../../node_modules/typescript', import.meta.url))
      await shell(`
        cp -a "$0" "$OUT/tree" 2>/dev/null || true
        mkdir -p "$OUT/tree/empty" "$OUT/tree/many"; for i in $(seq 300); do echo $i > "$OUT/tree/many/file-$i"; done
        ln -s ../many/file-7 "$OUT/tree/empty/link"; chmod 640 "$OUT/tree/many/file-8"
        cp -a "$OUT/tree" copy; diff -r "$OUT/tree" copy
        diff <(cd "$OUT/tree"; find . -printf '%p %m %s %T@ %l %n\\n' | grep -v '^[^ ]* 755 [0-9]* .*  [0-9]*$' | sort) <(cd copy; find . -printf '%p %m %s %T@ %l %n\\n' | grep -v '^[^ ]* 755 [0-9]* .*  [0-9]*$' | sort)
        rm -r copy; ls -A
      `.replace('"$0"', `"${source}/lib/package.json" "${source}/package.json" "${source}/README.md"`))
    })

    it('the kernel checks permissions; what is created is its creator\'s; a write by another takes setuid away', async () => {
      await mount()
      expect(await shell(`
        as_nobody () { setpriv --reuid 65534 --regid 65534 --clear-groups bash -c "$1"; }
        as_nobody 'echo x > denied' 2>/dev/null || echo denied
        mkdir -m 1777 open; as_nobody 'echo x > open/mine; mkdir open/dir; ln -s a open/link'; stat -c '%u %g' open/mine open/dir open/link
        echo secret > s; chmod 600 s; as_nobody 'cat s' 2>/dev/null || echo denied
        echo x > tool; chmod 6777 tool; as_nobody 'echo y >> tool'; stat -c %a tool
        chmod 4777 tool; as_nobody ': > tool'; stat -c %a tool
        echo x > open/root; as_nobody 'rm -f open/root' 2>/dev/null || echo sticky
      `)).to.equal(['denied', '65534 65534', '65534 65534', '65534 65534', 'denied', '777', '777', 'sticky'].join('\n'))
    })

    it('many programs at once get their own bytes', async () => {
      await mount()
      expect(await shell(`
        for i in $(seq 8); do (for j in $(seq 25); do head -c 70000 /dev/zero | tr '\\0' "$i" > "f-$i-$j"; done) & done; wait
        for i in $(seq 8); do cat f-$i-* | tr -d "$i" | wc -c; done | sort -u; ls | wc -l
      `)).to.equal('0\n200')
    })

    it('allocation, holes and locks behave', async () => {
      await mount()
      expect(await shell(`
        fallocate -l 10000 f; stat -c %s f
        printf 0123456789 > g; fallocate -p -o 2 -l 3 g; od -An -c g | tr -d ' '
        flock g -c 'flock -n g true || echo locked'
      `)).to.equal('10000\n01\\0\\0\\056789\nlocked')
    })

    it('stop unmounts, and leaves no process, no mount and no journal behind', async () => {
      const mounted = await mount()
      const journal = defaultJournal(mountPoint)
      expect(existsSync(journal)).to.equal(true)
      const workers = childrenOf(mounted.holderPid)
      expect(workers).to.have.length(1)
      await shell('echo x > f')
      await mounted.stop()
      expect(mountedAt(mountPoint)).to.equal(null)
      expect(existsSync(journal)).to.equal(false)
      for (const pid of [mounted.holderPid, ...workers]) expect(() => process.kill(pid, 0)).to.throw().with.property('code', 'ESRCH')
    })

    it('a mount in use is hidden at once and ends although its user stays', async () => {
      const mounted = await mount()
      await shell('echo x > f')
      const user = spawn('bash', ['-c', `cd ${mountPoint}; echo ready; read line`], { stdio: ['pipe', 'pipe', 'ignore'] })
      children.push(user)
      await new Promise((resolve) => { user.stdout.once('data', resolve) })
      await mounted.stop()
      expect(mountedAt(mountPoint)).to.equal(null)
    })
  })

  describe('when another mount changes something', () => {
    const elsewhere = `elsewhere () { python3 -c 'import os, sys; os.setxattr(".", "user.elsewhere", sys.argv[1].encode())' "$*"; }; `

    it('the kernel drops content, attributes and names, absent ones too, before the other goes on', async () => {
      await mount({ factory: sharedFactory })
      expect(await shell(elsewhere + `
        echo before > f; exec 3<f; cat f; stat -c '%a %s' f; ls later 2>/dev/null || echo absent
        elsewhere write f after; cat f; echo; cat <&3; echo; stat -c '%a %s' f
        elsewhere chmod f 600; stat -c '%a' f
        elsewhere rename f later; ls; cat later; echo; ls f 2>/dev/null || echo gone
        elsewhere create f; stat -c %s f
      `)).to.equal(['before', '644 7', 'absent', 'after', 'after', '644 5', '600', 'later', 'after', 'gone', '0'].join('\n'))
    })

    it('and caches all of it as long as nobody says so', async () => {
      await mount({ factory: sharedFactory })
      expect(await shell(elsewhere + `
        echo before > f; cat f; ls later 2>/dev/null || true; stat -c '%a %s' f
        elsewhere silently write f another; elsewhere silently chmod f 600; elsewhere silently create later
        stat -c '%a %s' f; cat f; stat later 2>/dev/null || echo absent
      `)).to.equal(['before', '644 7', '644 7', 'before', 'absent'].join('\n'))
    })
  })

  describe('when the worker is killed', () => {
    /** Not one of those that were killed: the kernel may keep them from ending until a later one answers (fuse/mount/process-state.ts). */
    async function worker (mounted: StartedMount, ...killed: number[]): Promise<number> {
      const find = (): number | undefined => childrenOf(mounted.holderPid).find((pid) => !killed.includes(pid))
      await until(() => find() !== undefined, 'a worker')
      return find()!
    }

    it('a copy that is under way does not notice, several times, and no acknowledged byte is lost', async () => {
      const socket = await startVolumeServer({ ATOLL_TEST_WRITE_DELAY_MS: '3' })
      const mounted = await mount({ factory: remoteFactory, options: { socket } })
      // Again and again, until the last one has been killed: so each is killed in the midst.
      const copying = shell(`
        mkdir "$OUT/src"; head -c 60000000 /dev/urandom > "$OUT/src/big"
        for i in $(seq 150); do head -c $((i * 500)) /dev/urandom > "$OUT/src/small-$i"; done
        while true; do
          cp -a "$OUT/src" copy; diff -r "$OUT/src" copy
          [ ! -e "$OUT/enough" ] || break
          rm -r copy
        done; ls copy | wc -l
      `, { timeout: 80_000 })
      copying.catch(() => {})
      let pid = await worker(mounted)
      const killed: number[] = []
      const log = (): string => readFileSync(join(directory, 'mount.log'), 'utf8')
      while (killed.length < killsOfWorkers) {
        // Not before it serves: otherwise the mount as such would fail.
        await until(() => log().split('"serving"').length > killed.length + 1, 'service')
        await new Promise((resolve) => { setTimeout(resolve, 150) })
        process.kill(pid, 'SIGKILL')
        killed.push(pid)
        pid = await worker(mounted, ...killed)
      }
      writeFileSync(join(directory, 'enough'), '')
      expect(await copying).to.equal('151')
      expect(log().split('the worker died').length - 1, 'workers that died').to.equal(killed.length)
      await mounted.stop()
    })

    it('an open file, an open directory and a working directory go on', async () => {
      const socket = await startVolumeServer()
      const mounted = await mount({ factory: remoteFactory, options: { socket } })
      const program = spawn('python3', ['-u', '-c', `
import os, sys
os.chdir(sys.argv[1]); os.mkdir('d'); os.chdir('d')
f = open('file', 'w+b', buffering=0); f.write(b'one '); os.unlink('file')
for i in range(2500): open('n%05d' % i, 'w').close()
listing = os.scandir('.'); first = [next(listing).name for _ in range(10)]
print('ready'); sys.stdin.readline()
f.write(b'two'); f.seek(0); print(f.read())
rest = [e.name for e in listing]; print(len(set(first + rest)), len(rest))
os.fsync(f.fileno()); f.close(); print(len(os.listdir('.')))
`, mountPoint], { stdio: ['pipe', 'pipe', 'inherit'] })
      children.push(program)
      let output = ''
      program.stdout.setEncoding('utf8').on('data', (chunk: string) => { output += chunk })
      await until(() => output.includes('ready'), 'the program')
      const first = await worker(mounted)
      process.kill(first, 'SIGKILL')
      await worker(mounted, first)
      program.stdin.end('\n')
      await new Promise((resolve) => { program.on('close', resolve) })
      expect(output).to.equal("ready\nb'one two'\n2500 2490\n2500\n")
    })
  })

  it('what was lost with a worker is told by each descriptor that was open, once, though the next worker is killed before', async () => {
    // Nothing gets to the volume in time.
    const socket = await startVolumeServer({ ATOLL_TEST_WRITE_DELAY_MS: '600000' })
    const mounted = await mount({ factory: remoteFactory, options: { socket, sessionEnds: true } })
    const program = spawn('python3', ['-u', '-c', `
import os, sys
os.chdir(sys.argv[1])
def attempt(work):
    try: work(); return 'well'
    except OSError as error: return os.strerror(error.errno)
fds = [os.open('f', os.O_CREAT | os.O_WRONLY | os.O_APPEND) for _ in range(2)]
other = os.open('other', os.O_CREAT | os.O_WRONLY)
print(os.write(fds[0], b'acknowledged'), 'ready'); sys.stdin.readline()
late = os.open('f', os.O_WRONLY)
print([attempt(lambda: os.fsync(fd)) for fd in (late, other, fds[0], fds[0])])
print(attempt(lambda: os.write(fds[1], b'x')), attempt(lambda: os.fsync(fds[1])))
`, mountPoint], { stdio: ['pipe', 'pipe', 'inherit'] })
    children.push(program)
    let output = ''
    program.stdout.setEncoding('utf8').on('data', (chunk: string) => { output += chunk })
    await until(() => output.includes('ready'), 'the program')
    const serving = (): number => readFileSync(join(directory, 'mount.log'), 'utf8').split('"serving"').length - 1
    for (const count of [1, 2]) {
      await until(() => serving() === count, 'service')
      process.kill(childrenOf(mounted.holderPid).at(-1)!, 'SIGKILL')
    }
    await until(() => serving() === 3, 'service')
    program.stdin.end('\n')
    await new Promise((resolve) => { program.on('close', resolve) })
    expect(output).to.equal("12 ready\n['well', 'well', 'Input/output error', 'well']\nInput/output error well\n")
  })

  describe('other ends', () => {
    const isGone = (pid: number): boolean => {
      try {
        process.kill(pid, 0)
        return false
      } catch {
        return true
      }
    }

    it('when somebody unmounts by hand, worker and holder end', async () => {
      const mounted = await mount()
      const [worker] = childrenOf(mounted.holderPid)
      await shell('echo x > f')
      expect(await unmountKernel(mountPoint, { lazy: false })).to.equal(true)
      await until(() => isGone(worker!) && isGone(mounted.holderPid), 'the end of both')
      await mounted.stop()
    })

    it('when the holder is killed the worker serves on until it is unmounted', async () => {
      const mounted = await mount()
      const [worker] = childrenOf(mounted.holderPid)
      await shell('echo x > f')
      process.kill(mounted.holderPid, 'SIGKILL')
      await until(() => isGone(mounted.holderPid), 'the end of the holder')
      expect(await shell('cat f; echo y > g; ls')).to.equal('x\nf\ng')
      expect(clearDeadJournals()).to.not.include(defaultJournal(mountPoint))
      expect(await unmountKernel(mountPoint, { lazy: false })).to.equal(true)
      await until(() => isGone(worker!), 'the end of the worker')
      expect(clearDeadJournals()).to.include(defaultJournal(mountPoint))
    })

    it('when both are killed their journal is gone after the next mount, wherever that is; one of a mount that lives stays', async () => {
      const [dead, alive, next] = ['dead', 'alive', 'next'].map((name) => join(directory, name)) as [string, string, string]
      for (const path of [dead, alive, next]) mkdirSync(path)
      await mount({ mountPoint: alive })
      const { holderPid } = await mount({ mountPoint: dead })
      const killed = [holderPid, ...childrenOf(holderPid)]
      for (const pid of killed) process.kill(pid, 'SIGKILL')
      await until(() => killed.every(isGone), 'the end of both')
      expect([dead, alive].map(defaultJournal).map(existsSync)).to.deep.equal([true, true])
      await mount({ mountPoint: next })
      expect([dead, alive, next].map(defaultJournal).map(existsSync)).to.deep.equal([false, true, true])
      await unmountKernel(dead, { lazy: true })
    })

    it('a worker of which the kernel keeps a thread until a read is answered is replaced all the same', async () => {
      const marker = join(directory, 'marker')
      const { holderPid } = await mount({ factory: stuckFactory, options: { marker } })
      const reading = shell('cat file | tr -d x | wc -c; stat -c %s file')
      await until(() => existsSync(marker), 'the recall')
      process.kill(childrenOf(holderPid)[0]!, 'SIGKILL')
      expect(await reading).to.equal('0\n65536')
      await until(() => childrenOf(holderPid).length === 1, 'the end of the first worker')
    })

    it('a worker that throws where nobody catches is replaced', async () => {
      const mounted = await mount({ factory: sharedFactory })
      const [worker] = childrenOf(mounted.holderPid)
      // Its volume dies with it: what matters is that the mount answers again.
      await shell(`echo x > f; python3 -c 'import os; os.setxattr(".", "user.elsewhere", b"crash")'; ls`)
      await until(() => isGone(worker!), 'the end of the worker')
      expect(await shell('echo again > g; cat g')).to.equal('again')
      expect(readFileSync(join(directory, 'mount.log'), 'utf8')).to.match(/thrown on purpose/)
    })
  })

  describe('what cannot be mounted', () => {
    it('says why, with a code and what helps', async () => {
      expect(await rejection(mount({ mountPoint: join(directory, 'none') }))).to.deep.include({ code: 'ATOLL_MOUNT_POINT_MISSING', hint: `make it: mkdir -p ${join(directory, 'none')}` })
      writeFileSync(join(directory, 'file'), '')
      expect((await rejection(mount({ mountPoint: join(directory, 'file') }))).code).to.equal('ATOLL_MOUNT_POINT_NOT_DIRECTORY')
      expect((await rejection(mount({ mountPoint: join(directory, 'file', 'below') }))).code).to.equal('ATOLL_MOUNT_POINT_NOT_DIRECTORY')
      await mount()
      expect(await rejection(mount())).to.deep.include({ code: 'ATOLL_MOUNT_POINT_BUSY', hint: `unmount it: umount ${mountPoint}` })
      expect((await rejection(mount({ driver: 'fuse-native' }))).code).to.equal('ATOLL_DRIVER_UNAVAILABLE')
    })

    it('a volume that does not open leaves nothing mounted, and its own code is reported', async () => {
      expect((await rejection(mount({ factory: remoteFactory, options: { socket: join(directory, 'no.sock') } }))).code).to.equal('ENOENT')
      expect(mountedAt(mountPoint)).to.equal(null)
      expect((await rejection(mount({ factory: 'file:///no/such/module.ts' }))).code).to.equal('ERR_MODULE_NOT_FOUND')
      expect(mountedAt(mountPoint)).to.equal(null)
    })

    it('who is not root is told so', async () => {
      const start = new URL('../../fuse/mount/start.ts', import.meta.url).href
      const script = `process.setuid(65534); const { startMount } = await import(${JSON.stringify(start)}); await startMount({ mountPoint: '/', factory: '', options: null }).catch((error) => { console.log(error.code, error.details.hint) })`
      const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
      expect(stdout.trim()).to.equal('ATOLL_NOT_ROOT run the same command with sudo')
    })

    it('a mount whose server is gone is cleared away', async () => {
      const { holderPid } = await mount()
      const [workerPid] = childrenOf(holderPid)
      process.kill(holderPid, 'SIGKILL')
      process.kill(workerPid!, 'SIGKILL')
      await until(() => { try { process.kill(workerPid!, 0); return false } catch { return true } }, 'the end of the worker')
      expect(mountedAt(mountPoint)).not.to.equal(null)
      await mount()
      expect(await shell('echo alive > f; cat f')).to.equal('alive')
    })
  })
})
