import { expect } from 'chai'
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { openLevelKv } from '../../fsnode/protocol/level-kv.ts'
import { silentLog } from '../../fsnode/protocol/pino-log.ts'
import { LogStore } from '../../fsnode/raft/log-store.ts'
import { managerGroupId } from '../../fsnode/manager/members.ts'
import { canMount, makeTree, Place, sh, sumOf } from './harness.ts'

const largeMb = 40

describe('a cluster whose manager has lost its state', function () {
  this.timeout(240_000)
  let place: Place

  before(async function () {
    if (!canMount()) this.skip()
    place = new Place()
    await place.up('--nodes', '3', '--replicas', '3')
    await makeTree(place.path('tree'), 60)
    await sh(`cp -a '${place.path('tree')}' '${place.mount}/'; head -c ${largeMb}M /dev/urandom > '${place.path('large')}'; cp '${place.path('large')}' '${place.mount}/large'`)
    await place.well('partition', 'backup', place.path('map.json'), '--data', place.data)
    await place.down()
    for (const volume of volumes()) await loseManager(volume)
  })
  after(async () => { await place?.clean() })

  /** Of the nodes, on the embedded scheduler. */
  function volumes (): string[] {
    const role = join(place.data, 'scheduler', 'master', 'volumes', 'roles', 'atoll')
    return readdirSync(role).map((name) => join(role, name))
  }

  async function loseManager (volume: string): Promise<void> {
    rmSync(join(volume, 'manager'), { recursive: true })
    const kv = await openLevelKv({ directory: join(volume, 'raft') })
    const store = new LogStore({ kv, log: silentLog }, { onFailure: (error) => { throw error } })
    await store.remove(managerGroupId)
    await store.close()
    await kv.close()
  }

  it('makes no volume in the place of one that it has forgotten, and says what helps', async () => {
    const { code, stderr } = await place.atoll(...place.upWords('--detach'))
    expect([code, stderr]).to.satisfy(([is, text]: [number, string]) => is === 1 && /^atoll: ATOLL_MAP_LOST: .*node-1.*\n.*atoll up --restore BACKUP/m.test(text))
    expect(place.leftovers).to.deep.equal({ processes: [], mounts: [] })
  })

  it('a backup of the map brings everything back', async () => {
    await place.up('--restore', place.path('map.json'))
    expect(await sh(`diff -r --no-dereference '${place.path('tree')}' '${place.mount}/tree'`)).to.equal('')
    expect(await sumOf(join(place.mount, 'large'))).to.equal(await sumOf(place.path('large')))
    await place.untilHealthy()
    await place.well('scrub', '--data', place.data)
  })

  it('it has a new volume beside it, and is started as before', async () => {
    await place.well('volume', 'create', 'more', '--data', place.data)
    await place.down()
    await place.up()
    expect(await sumOf(join(place.mount, 'large'))).to.equal(await sumOf(place.path('large')))
    const again = await place.atoll(...place.upWords('--detach', '--restore', place.path('map.json')))
    expect([again.code, again.stderr.split('\n').find((line) => line.startsWith('atoll:'))]).to.satisfy(([code, line]: [number, string]) => code === 1 && line.startsWith('atoll: ATOLL_VOLUME_EXISTS'))
    expect(await sumOf(join(place.mount, 'large'))).to.equal(await sumOf(place.path('large')))
  })
})
