import { expect } from 'chai'
import type { DataPartition, MetadataPartition, VolumeInfo } from '../../partitioning/types.ts'
import { canMount, copiesOf, copyLoop, isAlive, kill, Place, sh, start, until, type Running } from './harness.ts'

interface ShownVolume extends VolumeInfo { data: DataPartition[], metadata: MetadataPartition[] }

// One cluster lives through all of it, with a copy that goes on all the time.
describe('partitions that are split while files are copied', function () {
  this.timeout(120_000)
  let place: Place
  let copy: Running

  before(async function () {
    if (!canMount()) this.skip()
    place = new Place()
    await place.up('--nodes', '3', '--replicas', '3')
    place.folder('source')
    await sh(`cd '${place.path('source')}'; for i in 1 2 3 4 5 6; do head -c 9000000 /dev/urandom > large-$i; head -c 3000 /dev/urandom > small-$i; done; cp -a '${place.path('source')}' '${place.mount}/before'`)
    copy = start(['sh', '-c', copyLoop(place)], { limitMs: 20 * 60_000 })
    await until('the copy is under way', () => copies() > 0)
  })
  after(async () => {
    if (place === undefined) return
    if (copy !== undefined && isAlive(copy.child.pid!)) kill(copy.child.pid!, 'SIGKILL')
    await place.clean()
  })

  const copies = (): number => copiesOf(copy)

  async function show (): Promise<ShownVolume> {
    return JSON.parse((await place.well('volume', 'show', 'main', '--json', '--data', place.data)).stdout) as ShownVolume
  }

  async function goesOn (): Promise<void> {
    const before = copies()
    await until('the copy goes on', () => copies() > before + 1 || !isAlive(copy.child.pid!))
    if (!isAlive(copy.child.pid!)) throw new Error(`the copy has ended: ${copy.text().slice(-2000)}`)
  }

  it('there are four times as many, and more for names; each on the nodes where it was', async () => {
    const { dataPartitions, data } = await show()
    await place.well('volume', 'set', 'main', `data-partitions=${4 * dataPartitions}`, 'metadata-partitions=4', '--wait', '--data', place.data)
    const after = await show()
    expect(after).to.include({ dataPartitions: 4 * dataPartitions, metadataPartitions: 4 })
    expect([after.data.length, after.metadata.length]).to.deep.equal([4 * dataPartitions, 4])
    for (const { index, replicas } of after.data) {
      const origin = data[index % dataPartitions]!
      expect(replicas.map(({ node }) => node).sort()).to.deep.equal(origin.replicas.map(({ node }) => node).sort())
    }
    await goesOn()
  })

  it('it is shown how many inodes each partition for names holds', async () => {
    let counts: number[] = []
    await until('each has told', async () => {
      const { stdout } = await place.well('partition', 'list', '--kind', 'metadata', '--volume', 'main', '--sort', 'inodes', '--json', '--data', place.data)
      counts = (JSON.parse(stdout) as Array<{ inodes: number | null }>).map(({ inodes }) => inodes ?? -1)
      return !counts.includes(-1)
    })
    expect(counts.length).to.equal(4)
    expect(counts).to.deep.equal([...counts].sort((one, other) => other - one))
    expect(counts[0]).to.be.at.least(12)
    expect(counts[3]).to.be.at.least(0)
  })

  it('goes on after kill -9 of a node in the middle of it', async () => {
    const { dataPartitions } = await show()
    const split = place.well('volume', 'set', 'main', `data-partitions=${4 * dataPartitions}`, '--wait', '--data', place.data)
    await until('some are split', async () => (await show()).data.length > dataPartitions)
    const { nodes } = await place.status()
    kill(nodes[0]!.pid!, 'SIGKILL')
    await split
    expect((await show()).data.length).to.equal(4 * dataPartitions)
    await goesOn()
  })

  it('a number that cannot be is refused, with what can', async () => {
    const { dataPartitions } = await show()
    const refused = await place.atoll('volume', 'set', 'main', `data-partitions=${dataPartitions + 1}`, '--data', place.data)
    expect([refused.code, refused.stderr.includes('ATOLL_BAD_ARGUMENT'), refused.stderr.includes(`data-partitions=${2 * dataPartitions}`)]).to.deep.equal([2, true, true])
  })

  it('every byte is there, and equal at all replicas', async () => {
    await sh(`touch '${place.path('stop')}'`)
    expect((await copy.outcome).code, copy.text()).to.equal(0)
    await sh(`diff -r '${place.path('source')}' '${place.mount}/before'`)
    await place.untilHealthy()
    const { stdout } = await place.well('scrub', '--json', '--data', place.data)
    const rows = JSON.parse(stdout) as Array<{ damaged: number, differing: number }>
    expect(rows.length).to.be.at.least((await show()).data.length)
    expect(rows.filter(({ damaged, differing }) => damaged + differing > 0)).to.deep.equal([])
  })
})
