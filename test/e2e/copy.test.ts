import { expect } from 'chai'
import { canMount, makeTree, Place, sh, sumOf } from './harness.ts'

const shapes = [
  { nodes: 3, replicas: 3, files: 300, largeMb: 256 },
  { nodes: 5, replicas: 3, files: 100, largeMb: 64 },
  { nodes: 1, replicas: 1, files: 100, largeMb: 64 }
]

describe('a cluster on this machine', function () {
  this.timeout(240_000)
  before(function () { if (!canMount()) this.skip() })

  for (const { nodes, replicas, files, largeMb } of shapes) {
    describe(`of ${nodes} nodes with ${replicas} replicas`, () => {
      let place: Place
      let sum: string
      before(() => { place = new Place() })
      after(async () => { await place?.clean() })

      it('comes up, mounted and healthy', async () => {
        const { stderr } = await place.up('--nodes', String(nodes), '--replicas', String(replicas))
        expect(stderr).to.include(`mounted on ${place.mount}`)
        const report = await place.status()
        expect(report.health).to.equal('healthy')
        expect(report.nodes).to.have.length(nodes)
        expect(report.nodes.every(({ state, pid }) => state === 'up' && pid !== undefined)).to.equal(true)
        expect(report.volumes).to.deep.equal([{ id: 1, name: 'main', placement: 'hawaii', replicas }])
        expect(report.partitions.healthy).to.equal(report.partitions.total).and.to.be.greaterThan(nodes)
        expect(report.mounts.map(({ path, state }) => ({ path, state }))).to.deep.equal([{ path: place.mount, state: 'mounted' }])
      })

      it(`takes a tree of ${files} files and gives back what it was given`, async () => {
        await makeTree(place.path('tree'), files)
        await sh(`cp -a '${place.path('tree')}' '${place.mount}/tree'`)
        expect(await sh(`diff -r --no-dereference '${place.path('tree')}' '${place.mount}/tree'`)).to.equal('')
        const listed = (path: string): Promise<string> => sh(`cd '${path}' && find . -type d -printf '%P %m %n\\n' -o -printf '%P %m %n %s %T@ %l\\n' | sort`)
        expect(await listed(`${place.mount}/tree`)).to.equal(await listed(place.path('tree')))
      })

      it(`takes a file of ${largeMb} MiB and gives back the same bytes`, async () => {
        await sh(`head -c ${largeMb}M /dev/urandom > '${place.path('large')}'`)
        sum = await sumOf(place.path('large'))
        await sh(`cp '${place.path('large')}' '${place.mount}/large' && cp '${place.mount}/large' '${place.path('back')}'`)
        expect(await sumOf(place.path('back'))).to.equal(sum)
      })

      it('has all of it after it was stopped and started', async () => {
        await place.down()
        expect(place.leftovers).to.deep.equal({ processes: [], mounts: [] })
        await place.up()
        expect(await sumOf(`${place.mount}/large`)).to.equal(sum)
        expect(await sh(`diff -r --no-dereference '${place.path('tree')}' '${place.mount}/tree'`)).to.equal('')
        const checked = await place.well('fsck', '--json', '--read-data', '--data', place.data)
        const [volume] = JSON.parse(checked.stdout)
        expect(volume).to.include({ volume: 'main', others: 2 })
        expect(volume.problems).to.deep.equal([])
        expect(volume.bytesRead).to.be.greaterThan(largeMb * 1024 * 1024)
      })

      it('stops without a trace', async () => {
        await place.down()
        expect(place.leftovers).to.deep.equal({ processes: [], mounts: [] })
      })
    })
  }
})
