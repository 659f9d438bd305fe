import { expect } from 'chai'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { copyFileSync, linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { artifactCommand, buildArtifact, serveArtifact } from '../../../scheduler/artifact/artifact.ts'
import type { Artifact } from '../../../scheduler/artifact/artifact.ts'
import { readTar, tarEnd, tarHeader, tarPadding } from '../../../scheduler/artifact/tar.ts'
import { OperatorServer } from '../../../scheduler/operator/server.ts'
import { quietLog } from '../framework/harness.ts'

const pollMs = 30
/** A root of its own with the kernel's /proc in it, where this process may make one; else the machine's. */
const isolate = ['/usr/bin/unshare', '-m', '/bin/sh', '-c', 'mount --bind /proc "$0/proc" && exec /usr/sbin/chroot "$0" "$@"']
const mayIsolate = process.getuid?.() === 0 && spawnSync(isolate[0]!, ['-m', '/bin/sh', '-c', 'mount --bind /proc /mnt']).status === 0

describe('tar', () => {
  const archiveOf = (files: Array<[string, string, boolean]>): Buffer => Buffer.concat([...files.flatMap(([name, text, executable]) =>
    [tarHeader(name, Buffer.byteLength(text), executable), Buffer.from(text), tarPadding(Buffer.byteLength(text))]), tarEnd()])
  const files: Array<[string, string, boolean]> = [['a', '', false], ['b/c.sh', 'x'.repeat(512), true], [`${'long/'.repeat(40)}name`, 'content', false], ['d', 'y'.repeat(513), false]]

  it('what is written is read, long names too', () => {
    expect([...readTar(archiveOf(files))].map(({ name, executable, content }) => [name, content.toString(), executable])).to.deep.equal(files)
  })

  it('the tar of this machine reads the same', () => {
    const directory = mkdtempSync(join(tmpdir(), 'atoll-tar-'))
    writeFileSync(join(directory, 'a.tar'), archiveOf(files))
    const listed = execFileSync('tar', ['tf', join(directory, 'a.tar')], { encoding: 'utf8' }).trim().split('\n')
    expect(listed).to.deep.equal(files.map(([name]) => name))
    rmSync(directory, { recursive: true })
  })

  it('what is cut off anywhere is refused', () => {
    const archive = archiveOf(files)
    for (let end = 0; end < archive.length - 1024; end += 97) expect(() => [...readTar(archive.subarray(0, end))], `cut at ${end}`).to.throw()
  })
})

describe('node artifact', function () {
  this.timeout(60_000)
  let directory: string
  let artifact: Artifact
  const running: ChildProcess[] = []

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'atoll-artifact-'))
    artifact = await buildArtifact(join(directory, 'artifact'))
  })

  after(async () => {
    for (const child of running) {
      if (child.exitCode !== null || child.signalCode !== null) continue
      const ended = new Promise((resolve) => { child.once('exit', resolve) })
      child.kill('SIGKILL')
      await ended
    }
    rmSync(directory, { recursive: true, force: true })
  })

  /** A sandbox as an agent makes it. */
  function sandbox (name: string): string {
    const path = join(directory, name)
    mkdirSync(join(path, 'data'), { recursive: true })
    for (const file of artifact.files) {
      if (file.name === 'node') linkOrCopy(file.path, join(path, file.name))
      else copyFileSync(file.path, join(path, file.name))
    }
    return path
  }

  function linkOrCopy (from: string, to: string): void {
    try {
      linkSync(from, to)
    } catch {
      copyFileSync(from, to)
    }
  }

  /** In a root without anything else, where this process may make one. */
  function start (path: string, environment: Record<string, string>): ChildProcess {
    const [file, ...words] = artifactCommand(artifact, 'http://scheduler').nodeCommand.arguments!
    const env = { ...artifactCommand(artifact, 'http://scheduler').nodeCommand.environment, ...environment }
    mkdirSync(join(path, 'proc'), { recursive: true })
    const child = mayIsolate
      ? spawn(isolate[0]!, [...isolate.slice(1), path, file!, ...words], { cwd: path, env, stdio: ['ignore', 'pipe', 'pipe'] })
      : spawn(file!, words, { cwd: path, env, stdio: ['ignore', 'pipe', 'pipe'] })
    running.push(child)
    return child
  }

  it('holds no test, no type declaration, nothing of other machines', () => {
    const names = execFileSync('tar', ['tzf', artifact.files.at(-1)!.path], { encoding: 'utf8' }).trim().split('\n')
    expect(names).to.include('fsnode/server/main.ts').and.include('package.json')
    expect(names.filter((name) => /\.d\.ts$|\.map$|^test\/|^cli\/|fuse-native|prebuilds\/(?!linux-x64|linux-arm64)/.test(name))).to.deep.equal([])
  })

  it('is built once: the same files give the same archive', async () => {
    const again = await buildArtifact(join(directory, 'artifact'))
    const elsewhere = await buildArtifact(join(directory, 'artifact-2'))
    expect(again.files.map(({ sha256 }) => sha256)).to.deep.equal(artifact.files.map(({ sha256 }) => sha256))
    expect(elsewhere.files.map(({ sha256 }) => sha256)).to.deep.equal(artifact.files.map(({ sha256 }) => sha256))
  })

  it('runs a storage node where there is nothing but a kernel, and its health check', async () => {
    const path = sandbox('node')
    // Below those of clusters on this machine (scheduler/embedded.ts), of outgoing connections and of other tests.
    const rpcPort = 18_000 + (process.pid % 900) * 2
    const raftPort = rpcPort + 1
    const spec = {
      clusterId: 'c', nodeId: 'node-1', host: '127.0.0.1', rpcPort, raftPort, dataDirectory: 'data', capacityBytes: 1e8, domain: [],
      managers: [{ id: 'node-1', host: '127.0.0.1', rpcPort, raftPort }]
    }
    const environment = { ATOLL_NODE: JSON.stringify(spec) }
    const check = (): number | null => {
      const { healthCheck } = artifactCommand(artifact, 'http://scheduler')
      const [file, ...words] = healthCheck.command.arguments!
      return spawnSync(file!, words, { cwd: path, env: environment }).status
    }
    expect(check()).to.equal(1)
    const child = start(path, environment)
    let output = ''
    for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (chunk: Buffer) => { output += chunk.toString() })
    while (!(await listens(rpcPort))) {
      if (child.exitCode !== null) throw new Error(`the node has ended: ${output}`)
      await new Promise((resolve) => { setTimeout(resolve, pollMs) })
    }
    expect(check()).to.equal(0)
  })

  it('a file that is not what the scheduler serves is not run', async () => {
    const path = sandbox('damaged')
    const archive = readFileSync(join(path, 'atoll.tar.gz'))
    archive[archive.length >> 1]! ^= 1
    writeFileSync(join(path, 'atoll.tar.gz'), archive)
    const child = start(path, { ATOLL_NODE: '{}' })
    let text = ''
    child.stderr!.on('data', (chunk: Buffer) => { text += chunk.toString() })
    expect(await new Promise((resolve) => { child.once('close', resolve) })).to.equal(1)
    expect(text).to.contain('ATOLL_BAD_CHECKSUM: atoll.tar.gz')
  })

  it('is served under the checksum of each file, without a token; nothing else is', async () => {
    const server = new OperatorServer({ log: quietLog }, { host: '127.0.0.1', port: 0, token: 't', serveArtifact: (name, response) => serveArtifact(artifact, name, response) })
    const url = await server.listen()
    for (const { value, outputFile } of artifactCommand(artifact, url).nodeCommand.uris!) {
      const head = await fetch(value, { method: 'HEAD' })
      const file = artifact.files.find(({ name }) => name === outputFile)!
      expect([head.status, Number(head.headers.get('content-length'))]).to.deep.equal([200, file.sizeBytes])
    }
    const small = artifact.files.find(({ name }) => name === 'bootstrap.ts')!
    expect(await (await fetch(`${url}/artifact/${small.sha256}/bootstrap.ts`)).text()).to.equal(readFileSync(small.path, 'utf8'))
    for (const name of ['', '/', `${small.sha256}/../../etc/passwd`, `${small.sha256}/node`, `0/${small.name}`]) {
      expect((await fetch(`${url}/artifact/${name}`)).status, name).to.be.oneOf([404, 401])
    }
    await server.close()
  })

  it('the archive is really compressed, and by a fixed time stamp', () => {
    expect(gzipSync(readFileSync(artifact.files.at(-1)!.path)).length).to.be.greaterThan(1000)
    expect(readFileSync(artifact.files.at(-1)!.path).readUInt32LE(4)).to.equal(0)
  })
})

function listens (port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => { socket.destroy(); resolve(true) }).once('error', () => { resolve(false) })
  })
}
