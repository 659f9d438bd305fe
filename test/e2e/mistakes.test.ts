import { expect } from 'chai'
import { canMount, Place, sh, until } from './harness.ts'

// One cluster lives through all of it.
describe('an operator of a cluster on this machine', function () {
  this.timeout(240_000)
  let place: Place

  before(async function () {
    if (!canMount()) this.skip()
    place = new Place()
    await place.up('--nodes', '4', '--replicas', '3')
  })
  after(async () => { await place?.clean() })

  const failure = async (...words: string[]): Promise<string> => {
    const { code, stderr } = await place.atoll(...words)
    expect(code, stderr).to.be.greaterThan(0)
    return stderr
  }

  it('is told of a number that cannot be, and what follows from one that can', async () => {
    for (const wrong of ['0', 'x']) expect(await failure('scheduler', 'scale', wrong, '--data', place.data)).to.match(/invalid for argument 'nodes'. a whole number from 1 is needed/)
    const { stdout } = await place.well('scheduler', 'scale', '3', '--data', place.data)
    expect(stdout).to.equal(`accepted; what follows: atoll scheduler plan --data ${place.data}\n`)
  })

  it('a cluster that was scaled has as many nodes after the next start', async () => {
    await until('three nodes', async () => (await place.status()).nodes.length === 3, 120_000)
    await until('the directory says so', () => place.clusterFile.settings.nodes === 3)
    await place.down()
    await sh(`cp -a '${place.data}' '${place.path('copy')}'`)
    await place.up()
    expect((await place.status()).nodes.map(({ id }) => id).length).to.equal(3)
  })

  it('a copy of its directory is not taken for it while it runs', async () => {
    const error = await failure('up', '--data', place.path('copy'), '--mount', place.path('other'), '--detach')
    expect(error).to.match(/^atoll: ATOLL_PORT_IN_USE: another program listens on 127\.0\.0\.1:\d+, .*\n.*a copy of the directory/m)
    expect((await place.status()).health).to.equal('healthy')
  })

  it('a node whose replicas no other can take is not emptied: it is said what is lacking', async () => {
    const [node] = (await place.status()).nodes
    expect(await failure('node', 'drain', node!.id, '--data', place.data)).to.match(/ATOLL_NOT_ENOUGH_NODES.*3 replicas.*\n.*atoll up --nodes 4/)
    expect((await place.status()).nodes.map(({ state }) => state)).to.deep.equal(['up', 'up', 'up'])
  })

  it('a mount hides nothing', async () => {
    const directory = place.folder('filled')
    await sh(`echo kept > '${directory}/file'`)
    expect(await failure('mount', 'main', directory, '--data', place.data)).to.include('ATOLL_MOUNT_POINT_BUSY')
    expect(await sh(`cat '${directory}/file'`)).to.equal('kept\n')
  })
})
