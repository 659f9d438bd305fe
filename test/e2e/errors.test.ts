import { expect } from 'chai'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { childrenOf } from '../../cli/processes.ts'
import { atoll, canMount, kill, Place, run, sh, sumOf, until, type Outcome } from './harness.ts'

/** What a failed command prints, and nothing else: one error with its code, and what helps. */
function expectError ({ code, stderr }: Outcome, errorCode: string, exitCode = 1): void {
  const lines = stderr.trimEnd().split('\n').filter((line) => !/^(starting|launching|waiting|creating|mounting|the scheduler is already) /.test(line) && line !== 'the scheduler is already running')
  expect(lines[0], stderr).to.match(new RegExp(`^atoll: ${errorCode}: .+`))
  expect(lines.slice(1).every((line) => line.startsWith('  ')), stderr).to.equal(true)
  expect(lines.length, `a hint: ${stderr}`).to.equal(2)
  expect(code, stderr).to.equal(exitCode)
}

describe('what cannot be done is said, with the code and what helps', function () {
  this.timeout(120_000)
  let place: Place

  beforeEach(function () {
    if (!canMount()) this.skip()
    place = new Place()
  })
  afterEach(async () => {
    if (place === undefined) return
    const { leftovers } = place
    await place.clean()
    expect(leftovers).to.deep.equal({ processes: [], mounts: [] })
  })

  const up = (...more: string[]): Promise<Outcome> => place.atoll(...place.upWords('--detach', ...more))

  it('a data directory that is a file', async () => {
    writeFileSync(place.data, '')
    expectError(await up(), 'ATOLL_DATA_DIR_UNUSABLE')
    expectError(await place.atoll('status', '--data', place.data), 'ATOLL_DATA_DIR_UNUSABLE')
  })

  it('a data directory that cannot be written', async () => {
    place.folder('data')
    await sh(`mount -t tmpfs -o ro,size=1m none '${place.data}'`)
    expectError(await up(), 'ATOLL_DATA_DIR_UNUSABLE')
    await sh(`umount '${place.data}'`)
  })

  it('a disk that is too small for a cluster, and one that is full', async () => {
    place.folder('data')
    await sh(`mount -t tmpfs -o size=64m none '${place.data}'`)
    expectError(await up(), 'ATOLL_DISK_FULL')
    await sh(`rm -rf '${place.data}'/*; head -c 64M /dev/zero > '${place.data}/filler' || true`)
    const full = await up()
    expect(full.stderr).to.match(/^atoll: ATOLL_(DISK_FULL|DATA_DIR_UNUSABLE): /m)
    expect(full.code).to.equal(1)
    expect(place.leftovers.processes).to.deep.equal([])
    await sh(`umount -l '${place.data}'`)
  })

  it('mount points: a file, not empty, below nothing', async () => {
    writeFileSync(place.path('file'), '')
    const upOn = (mount: string): Promise<Outcome> => place.atoll('up', '--detach', '--data', place.data, '--mount', mount)
    expectError(await upOn(place.path('file')), 'ATOLL_MOUNT_POINT_NOT_DIRECTORY')
    writeFileSync(`${place.folder('occupied')}/file`, '')
    expectError(await upOn(place.path('occupied')), 'ATOLL_MOUNT_POINT_BUSY')
    expectError(await upOn(place.path('missing', 'below')), 'ATOLL_MOUNT_POINT_MISSING')
  })

  it('without root', async () => {
    await sh(`chmod 777 '${place.root}'`)
    const { HOME: _, ...environment } = process.env
    const asNobody = (...words: string[]): Promise<Outcome> => run(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, atoll, ...words], { env: environment })
    expectError(await asNobody(...place.upWords('--detach')), 'ATOLL_NOT_ROOT')
    expect(existsSync(place.data)).to.equal(false)
  })

  it('without root, but without a mount it works', async () => {
    await sh(`chmod 777 '${place.root}'`)
    const asNobody = (...words: string[]): Promise<Outcome> => run(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, atoll, ...words])
    const started = await asNobody('up', '--detach', '--no-mount', '--nodes', '1', '--data', place.data)
    expect(started.code, started.stderr).to.equal(0)
    const mounted = await asNobody('mount', 'main', place.folder('mnt'), '--data', place.data)
    expectError(mounted, 'ATOLL_NOT_ROOT')
    const stopped = await asNobody('down', '--data', place.data)
    expect(stopped.code, stopped.stderr).to.equal(0)
  })

  it('without /dev/fuse', async () => {
    const command = place.command(...place.upWords('--detach')).map((word) => `'${word}'`).join(' ')
    const outcome = await run(['unshare', '-m', 'sh', '-c', `mount -t tmpfs none /dev && mknod /dev/null c 1 3 && mknod /dev/urandom c 1 9 && exec ${command}`])
    expectError(outcome, 'ATOLL_NO_FUSE_DEVICE')
  })

  it('no cluster: commands say so, and are unreachable', async () => {
    for (const words of [['status'], ['down'], ['scrub'], ['fsck'], ['volume', 'list'], ['node', 'list'], ['partition', 'list'], ['mount', 'main', place.folder('mnt')]]) {
      expectError(await place.atoll(...words, '--data', place.path('none')), 'ATOLL_NO_CLUSTER', 3)
    }
    expectError(await run(place.command('status'), { env: { ATOLL_CLUSTER: '127.0.0.1:1' } }), 'ATOLL_CLUSTER_UNREACHABLE', 3)
  })

  it('wrong usage exits with 2 and says where the help is', async () => {
    for (const words of [['nonsense'], ['up', '--nonsense'], ['up', '--nodes', 'many'], ['up', '--nodes', '0'], ['up', '--placement', 'maui'], ['mount', 'main'], ['volume', 'create', 'x', '--chunk-size', 'big'], ['status', 'what']]) {
      const { code, stdout, stderr } = await place.atoll(...words)
      expect({ words, code, stdout }).to.deep.equal({ words, code: 2, stdout: '' })
      expect(stderr).to.match(/^error: /).and.to.match(/\(see: atoll.* --?help\)/)
    }
    const tooMany = await place.atoll('up', '--nodes', '1', '--replicas', '3', '--data', place.data)
    expect(tooMany.code).to.equal(2)
    expect(tooMany.stderr).to.match(/^atoll: ATOLL_BAD_ARGUMENT: 3 replicas need as many nodes, not 1\n {2}atoll up /)
    const badAddress = await place.atoll('status', '--cluster', 'nowhere')
    expect(badAddress.code).to.equal(2)
    expect(existsSync(place.data)).to.equal(false)
    for (const words of [['--help'], ['up', '--help'], ['help', 'fsck'], ['--version']]) expect((await place.atoll(...words)).code, words.join(' ')).to.equal(0)
  })
})

describe('a cluster that runs refuses what would harm it', function () {
  this.timeout(120_000)
  let place: Place

  before(async function () {
    if (!canMount()) this.skip()
    place = new Place()
    await place.up('--nodes', '1')
  })
  after(async () => { await place?.clean() })

  it('`up` again changes nothing; with other settings it is refused', async () => {
    const before = await place.status()
    const again = await place.up()
    expect(again.stderr).to.include('the scheduler is already running')
    await place.up('--nodes', '1', '--replicas', '1', '--placement', 'hawaii')
    expectError(await place.atoll(...place.upWords('--detach', '--placement', 'tivoli')), 'ATOLL_SETTINGS_DIFFER')
    const { nodes, mounts, health } = await place.status()
    expect({ pids: nodes.map(({ pid }) => pid), mounts: mounts.map(({ pid }) => pid), health }).to.deep.equal({ pids: before.nodes.map(({ pid }) => pid), mounts: before.mounts.map(({ pid }) => pid), health: 'healthy' })
  })

  it('an `up` that fails leaves the running cluster alone', async () => {
    const blocked = place.folder('blocked')
    writeFileSync(`${blocked}/file`, '')
    expectError(await place.atoll('up', '--detach', '--data', place.data, '--mount', blocked), 'ATOLL_MOUNT_POINT_BUSY')
    expect((await place.status()).health).to.equal('healthy')
  })

  it('mounts: missing, not a directory, not there, in use, of no volume', async () => {
    writeFileSync(place.path('file'), '')
    const mount = (volume: string, path: string): Promise<Outcome> => place.atoll('mount', volume, path, '--data', place.data)
    expectError(await mount('main', place.path('missing')), 'ATOLL_MOUNT_POINT_MISSING')
    expectError(await mount('main', place.path('file')), 'ATOLL_MOUNT_POINT_NOT_DIRECTORY')
    expectError(await mount('main', place.path('file', 'below')), 'ATOLL_MOUNT_POINT_NOT_DIRECTORY')
    expectError(await mount('main', place.mount), 'ATOLL_MOUNT_POINT_BUSY')
    expectError(await mount('other', place.folder('empty')), 'ATOLL_NO_SUCH_VOLUME')
    expectError(await place.atoll('mount', 'main', place.folder('empty'), '--driver', 'fuse-native', '--data', place.data), 'ATOLL_DRIVER_UNAVAILABLE')
    expectError(await place.atoll('umount', place.path('empty'), '--data', place.data), 'ATOLL_NOT_MOUNTED')
    expect((await place.status()).mounts).to.have.length(1)
  })

  it('a corrupt cluster file: told, `down` works all the same, and so does what the hint says', async () => {
    const file = `${place.data}/cluster.json`
    for (const text of ['', '{', '{"format":1}', '[]', 'null', '\0\0\0']) {
      writeFileSync(file, text)
      expectError(await place.atoll('status', '--data', place.data), 'ATOLL_CLUSTER_FILE_CORRUPT')
    }
    const refused = await place.atoll(...place.upWords('--detach'))
    expectError(refused, 'ATOLL_CLUSTER_FILE_CORRUPT')
    expect(refused.stderr).to.include(`rm ${file} && atoll up`)
    await sh(`echo kept > '${place.mount}/file'`)
    await sh(`rm '${file}'`)
    await place.up()
    expect((await place.status()).health).to.equal('healthy')
    writeFileSync(file, '{')
    await place.down()
    expect(place.leftovers).to.deep.equal({ processes: [], mounts: [] })
    await sh(`rm '${file}'`)
    await place.up()
    expect(await sh(`cat '${place.mount}/file'`)).to.equal('kept\n')
  })

  it('`down` twice; then `status` says that it does not run, and how to start it', async () => {
    await place.down()
    const again = await place.down()
    expect(again.stdout).to.equal('nothing was running\n')
    const outcome = await place.atoll('status', '--data', place.data)
    expectError(outcome, 'ATOLL_CLUSTER_UNREACHABLE', 3)
    expect(outcome.stderr).to.include(`atoll up --detach --data ${place.data}`)
    await place.up()
  })

  it('its ports in use: told, nothing stays behind, and it starts when they are free', async () => {
    await sh(`echo kept > '${place.mount}/file'`)
    await place.down()
    const { port } = place.clusterFile.nodes[0]!
    for (const taken of [port, port + 1]) {
      const release = await occupy(taken)
      const outcome = await place.atoll(...place.upWords('--detach'))
      expectError(outcome, 'ATOLL_PORT_IN_USE')
      expect(outcome.stderr).to.include(String(taken))
      expect(place.leftovers).to.deep.equal({ processes: [], mounts: [] })
      await release()
    }
    await place.up()
    expect(await sh(`cat '${place.mount}/file'`)).to.equal('kept\n')
  })

  it('a volume whose store is damaged: told, with where to look', async () => {
    await place.down()
    const [volume] = readdirSync(`${place.data}/scheduler/master/volumes/roles/atoll`)
    const store = `${place.data}/scheduler/master/volumes/roles/atoll/${volume}/raft`
    await sh(`cp -a '${store}' '${place.path('whole')}'; for f in '${store}'/MANIFEST-*; do echo garbage > "$f"; done`)
    expectError(await place.atoll(...place.upWords('--detach')), 'ATOLL_STORE_UNUSABLE')
    expect(place.leftovers).to.deep.equal({ processes: [], mounts: [] })
    await sh(`rm -rf '${store}'; cp -a '${place.path('whole')}' '${store}'`)
    await place.up()
    expect(await sh(`cat '${place.mount}/file'`)).to.equal('kept\n')
  })
})

describe('a data directory that was removed while its cluster ran', function () {
  this.timeout(120_000)
  let place: Place

  before(function () {
    if (!canMount()) this.skip()
    place = new Place()
  })
  after(async () => { await place?.clean() })

  it('`up` says that the old mount is in the way, leaves nothing of its own, and works when that is gone', async () => {
    await place.up('--nodes', '1')
    const holder = (await place.status()).mounts[0]!.pid
    await sh(`rm -rf '${place.data}'`)
    const refused = await place.atoll(...place.upWords('--detach', '--nodes', '1'))
    expectError(refused, 'ATOLL_MOUNT_POINT_BUSY')
    expect(place.leftovers.processes.filter((pid) => pid !== holder && !childrenOf(holder).includes(pid))).to.deep.equal([])
    expect(refused.stderr).to.include(`umount ${place.mount}`)
    // Its nodes are gone: it would wait for them.
    for (const pid of [holder, ...childrenOf(holder)]) kill(pid, 'SIGKILL')
    await until('it is disconnected', async () => (await run(['stat', place.mount])).code !== 0)
    await sh(`umount '${place.mount}'`)
    await place.up('--nodes', '1')
    await place.untilHealthy()
  })
})

describe('a full disk', function () {
  this.timeout(180_000)
  let place: Place

  before(async function () {
    if (!canMount()) this.skip()
    place = new Place()
    place.folder('data')
    await sh(`mount -t tmpfs -o size=700m none '${place.data}'`)
    await place.up()
  })
  after(async () => { await place?.clean() })

  it('ENOSPC when it is full; what is there stays whole; removing works and gives the space back', async () => {
    await sh(`head -c 20M /dev/urandom > '${place.path('whole')}'; cp '${place.path('whole')}' '${place.mount}/whole'`)
    const fill = await run(['sh', '-c', `dd if=/dev/zero of='${place.mount}/filler' bs=1M count=2000`])
    expect(fill.code, fill.stderr).to.equal(1)
    expect(fill.stderr).to.include('No space left on device')
    const refused = await run(['sh', '-c', `dd if=/dev/zero of='${place.mount}/more' bs=1M count=20 conv=fsync`])
    expect(refused.stderr).to.include('No space left on device')
    await sh('echo 3 > /proc/sys/vm/drop_caches')
    expect(await sumOf(`${place.mount}/whole`)).to.equal(await sumOf(place.path('whole')))
    // The second half of the reserve takes no new name either: then there is no `more`.
    await sh(`rm '${place.mount}/filler'; rm -f '${place.mount}/more'`)
    let last: Outcome | null = null
    await until('there is room again', async () => {
      last = await run(['sh', '-c', `dd if='${place.path('whole')}' of='${place.mount}/again' bs=1M conv=fsync`])
      return last.code === 0
    })
    expect(await sumOf(`${place.mount}/again`)).to.equal(await sumOf(place.path('whole')))
    await place.untilHealthy()
    await place.well('fsck', '--read-data', '--data', place.data)
    await place.down()
    await sh(`umount -l '${place.data}'`)
    expect(place.leftovers).to.deep.equal({ processes: [], mounts: [] })
  })
})

/** Listens there, and answers nothing. */
function occupy (port: number): Promise<() => Promise<void>> {
  return new Promise((resolve, reject) => {
    const sockets: Socket[] = []
    const server = createServer((socket) => { sockets.push(socket.on('error', () => {})) })
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => {
      resolve(() => new Promise((closed) => {
        server.close(() => { closed() })
        for (const socket of sockets) socket.destroy()
      }))
    })
  })
}
