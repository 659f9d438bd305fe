import { expect } from 'chai'
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { DescriptionError, failuresDefault, parseSize, readDescription, type Description, type SimulatedNode } from '../../partitioning/simulation/description.ts'
import { diskLoad, partitionShares } from '../../partitioning/simulation/disk-load.ts'
import { simulationOf } from '../../partitioning/simulation/from-map.ts'
import { plotSvg } from '../../partitioning/simulation/plot.ts'
import { secondsPerYear, yearlyLoss } from '../../partitioning/simulation/reliability.ts'
import { simulate } from '../../partitioning/simulation/simulate.ts'
import type { ClusterMap } from '../../partitioning/types.ts'
import { SimRandom } from '../sim/random.ts'

const description = (fields: Partial<Description> = {}): Description => ({
  nodes: [{ count: 8, domain: ['zone-%2', 'rack-%4'], capacity: '1 TB', read: '400 MB', write: '100 MB' }, { name: 'slow', count: 2, domain: ['zone-%2', 'rack-9'], capacity: '1 TB', read: '40 MB', write: '10 MB' }],
  volumes: [{ replicas: 3, partitions: 64, bytes: '1 TB', reads: '100 MB', writes: '10 MB' }],
  ...fields
})

const nodesOf = (count: number, lossesPerYear: number): SimulatedNode[] => readDescription(description({ nodes: [{ count, domain: ['r-%3'], capacity: 1e12, lossesPerYear }] })).nodes

/** Years of losses and repairs, one event after the other: how many events lost a partition, and how many bytes. */
function lostInYears (partitions: ReadonlyArray<{ replicas: string[], bytes: number }>, nodes: readonly SimulatedNode[], repairYears: number, years: number, seed: number): { events: number, bytes: number } {
  const random = new SimRandom(seed)
  const rate = nodes.reduce((sum, { lossesPerYear }) => sum + lossesPerYear, 0)
  const back = new Map<string, number>()
  let [now, events, bytes] = [0, 0, 0]
  for (;;) {
    now += -Math.log(1 - random.next()) / rate
    if (now > years) return { events: events / years, bytes: bytes / years }
    const { id } = nodes[Math.floor(random.next() * nodes.length)]!.info
    const isDown = (node: string): boolean => (back.get(node) ?? 0) > now
    if (isDown(id)) continue
    back.set(id, now + repairYears)
    const gone = partitions.filter(({ replicas }) => replicas.includes(id) && replicas.every(isDown))
    if (gone.length > 0) events++
    bytes += gone.reduce((sum, partition) => sum + partition.bytes, 0)
  }
}

describe('simulation', () => {
  it('sizes are numbers or have units', () => {
    expect([1024, '5', '4 TB', '500MiB', '1.5 GB/s', '2kb'].map((size) => parseSize(size, 'x'))).to.deep.equal([1024, 5, 4e12, 500 * 2 ** 20, 1.5e9, 2000])
    for (const wrong of ['', 'much', '-1', '4 XB', null, {}]) expect(() => parseSize(wrong, 'nodes[0].capacity'), String(wrong)).to.throw(DescriptionError, 'nodes[0].capacity')
  })

  it('what is wrong in a description is named with its place', () => {
    const wrong: Array<[unknown, string]> = [
      [null, 'the description'], [[], 'the description'], [{}, 'nodes'], [{ nodes: [] }, 'nodes'], [{ nodes: [{ count: 1.5, capacity: 1 }] }, 'nodes[0].count'],
      [{ nodes: [{ capacity: 0 }] }, 'nodes[0]'], [{ nodes: [{ capacity: 1, domain: 'rack' }] }, 'nodes[0].domain'], [{ nodes: [{ count: 5000, capacity: 1 }] }, 'nodes[0].count'],
      [description({ volumes: [] }), 'volumes'], [description({ volumes: [{ replicas: 9, partitions: 1 }] }), 'volumes[0].replicas'], [description({ volumes: [{ replicas: 3, partitions: 65_536 }, { replicas: 3, partitions: 1 }] }), 'volumes'],
      [description({ failures: { outages: { perYear: 1, lostShare: 2 } } }), 'failures.outages.lostShare'], [description({ growth: [{ remove: [''] }] }), 'growth[0].remove[0]'], [{ ...description(), growth: 3 }, 'growth']
    ]
    for (const [value, where] of wrong) expect(() => readDescription(value), JSON.stringify(value)).to.throw(DescriptionError, where)
    expect(() => simulate(readDescription(description({ growth: [{ remove: ['nobody'] }] })))).to.throw(DescriptionError, 'nobody')
  })

  it('nodes of a group are numbered on, and dealt out to domains', () => {
    const { nodes, growth } = readDescription(description({ nodes: [{ count: 3, capacity: 1, domain: ['r-%2'] }], growth: [{ add: [{ count: 2, capacity: 1, domain: ['r-%2'] }] }] }))
    expect([...nodes, ...growth[0]!.add].map(({ info }) => `${info.id} ${info.domain}`)).to.deep.equal(['node-0 r-0', 'node-1 r-1', 'node-2 r-0', 'node-3 r-1', 'node-4 r-0'])
  })

  it('the yearly loss is what playing years through gives', () => {
    const nodes = nodesOf(6, 2)
    const repairYears = 0.01
    const sets = [['node-0', 'node-1'], ['node-0', 'node-1'], ['node-2', 'node-3'], ['node-4', 'node-5', 'node-0']]
    const partitions = sets.map((replicas, at) => ({ replicas, bytes: 100 + at }))
    const computed = yearlyLoss({ partitions, nodes, failures: failuresDefault, repairSeconds: repairYears * secondsPerYear })
    const played = lostInYears(partitions, nodes, repairYears, 40_000, 1)
    expect(computed.events.nodes / played.events).to.be.within(0.9, 1.15)
    expect(computed.bytes / played.bytes).to.be.within(0.9, 1.15)
    expect(computed.probability).to.be.closeTo(1 - Math.exp(-computed.events.nodes), 1e-12)
  })

  it('a lost domain loses what is in it alone; an outage what the copysets lose', () => {
    const nodes = nodesOf(6, 0)
    const partitions = [{ replicas: ['node-0', 'node-3'], bytes: 10 }, { replicas: ['node-0', 'node-1'], bytes: 1000 }]
    const failures = { ...failuresDefault, domains: [{ level: 0, lossesPerYear: 0.5 }, { level: 7, lossesPerYear: 9 }] }
    expect(yearlyLoss({ partitions, nodes, failures, repairSeconds: 60 })).to.deep.include({ events: { nodes: 0, domains: 0.5, outages: 0 }, bytes: 5 })
    const outages = yearlyLoss({ partitions, nodes, failures: { ...failuresDefault, outages: { perYear: 3, lostShare: 1 / 3 } }, repairSeconds: 60 })
    // Two of six nodes: 15 pairs, of which two hold a partition.
    expect(outages.events.outages).to.be.closeTo(3 * 2 / 15, 1e-9)
    expect(outages.bytes).to.be.closeTo(3 * (2 / 15) * 505, 1e-9)
  })

  it('reads load the primary under Hawaii and the others under Tivoli, writes all', () => {
    const { nodes, volumes } = readDescription(description({ nodes: [{ count: 3, capacity: 1, read: 100, write: 50, busy: 0.1 }], volumes: [{ replicas: 3, partitions: 1, reads: 20, writes: 5 }] }))
    const load = (placement: 'hawaii' | 'tivoli'): number[] => [...diskLoad(nodes, [{ volume: volumes[0]!, replicas: [['node-0', 'node-1', 'node-2']] }], placement).busy.values()]
    expect(load('hawaii').map((value) => Number(value.toFixed(6)))).to.deep.equal([0.4, 0.2, 0.2])
    expect(load('tivoli').map((value) => Number(value.toFixed(6)))).to.deep.equal([0.2, 0.3, 0.3])
    const shares = partitionShares(10, 1)
    expect(shares.reduce((sum, share) => sum + share, 0)).to.be.closeTo(1, 1e-9)
    expect(Math.max(...shares) / Math.min(...shares)).to.be.closeTo(10, 1e-9)
  })

  it('shows what slow disks do to each policy, what growth moves, and that losses become rarer with more replicas', () => {
    const growing = description({ growth: [{ name: 'more', add: [{ count: 2, capacity: '1 TB', domain: ['zone-%2', 'rack-5'] }], grow: 1.5 }, { name: 'fewer', remove: ['node-0', 'slow-1'] }] })
    const [hawaii, tivoli] = simulate(readDescription(growing))
    expect(hawaii!.steps.map(({ name, nodes }) => [name, nodes])).to.deep.equal([['now', 10], ['more', 12], ['fewer', 10]])
    for (const { steps } of [hawaii!, tivoli!]) {
      expect(steps[0]!.movement).to.equal(null)
      for (const step of steps) expect(step.replicasToShareMax).to.be.lessThan(1.2)
      for (const { movement } of steps.slice(1)) {
        expect(movement!.replicaMoves).to.be.within(movement!.leastMoves, movement!.leastMoves * 1.5)
        expect(movement!.seconds).to.be.greaterThan(0)
        expect(movement!.bytes).to.be.greaterThan(0)
      }
      // Nodes that leave can still be read, but are not to be counted on.
      expect(steps[2]!.movement!.endangered).to.be.greaterThan(0)
    }
    expect(tivoli!.steps[0]!.busiestDisk).to.be.lessThan(hawaii!.steps[0]!.busiestDisk / 1.5)
    const losses = [1, 2, 3].map((replicas) => simulate(readDescription(description({ volumes: [{ replicas, partitions: 64, bytes: '1 TB' }] })), ['hawaii'])[0]!.steps[0]!.loss.probability)
    expect(losses[1]!).to.be.lessThan(losses[0]! / 100)
    expect(losses[2]!).to.be.lessThan(losses[1]! / 100)
  })

  it('a live cluster is simulated from where its partitions are', () => {
    const info = (id: string, state: 'up' | 'down' = 'up'): ClusterMap['nodes'][number] =>
      ({ id, incarnation: '', peerId: '', host: '', rpcPort: 1, raftPort: 1, domain: [], capacityBytes: 1000, usedBytes: 80, disk: null, state })
    const map: ClusterMap = {
      clusterId: 'c', version: 1, managers: [], metadata: [], nodes: ['a', 'b', 'c'].map((id) => info(id)).concat(info('d', 'down')),
      volumes: [{ id: 7, name: 'main', placement: 'hawaii', replicas: 2, chunkSizeBytes: 1, inlineBytesMax: 1, dataPartitions: 4, metadataPartitions: 1 }],
      data: [['a', 'b'], ['b', 'a'], ['a', 'b'], ['d', 'c']].map((nodes, index) => ({ id: `7.d.${index}`, volume: 7, index, epoch: 1, primary: nodes[0]!, replicas: nodes.map((node) => ({ node, state: 'serving' })) }))
    }
    const [{ steps: [step] }] = simulate(simulationOf(map), ['hawaii']) as [ReturnType<typeof simulate>[number]]
    expect(step).to.deep.include({ nodes: 3, partitions: 4 })
    // One replica is on a node that is down; a and b have one more than the shares of 8/3 allow only if nothing moves to c.
    expect(step!.movement!.replicaMoves).to.be.within(1, 2)
    expect(step!.movement!.bytes).to.equal(step!.movement!.replicaMoves * 40)
    const observed = { stored: [{ partition: '7.d.0', bytes: 100 }, { partition: '7.d.3', bytes: 50 }, { partition: '8.d.0', bytes: 900 }], loads: [{ partition: '7.d.1', readBytes: 30, writeBytes: 8 }, { partition: '7.d.2', readBytes: 10, writeBytes: 2 }] }
    expect(simulationOf(map, observed).volumes[0]).to.deep.include({ bytes: 300, reads: 40, writes: 10 })
    const [{ steps: [loaded] }] = simulate(simulationOf(map, observed), ['hawaii']) as [ReturnType<typeof simulate>[number]]
    expect(loaded!.movement!.bytes).to.equal(loaded!.movement!.replicaMoves * 75)
    expect(loaded!.busiestDisk).to.be.greaterThan(0)
  })

  it('the plot is well-formed and shows every policy', () => {
    const svg = plotSvg(simulate(readDescription(description({ growth: [{ grow: 2 }] }))))
    const open: string[] = []
    for (const [, closing, name, , empty] of svg.matchAll(/<(\/?)([a-z]+)((?:\s+[a-zA-Z:-]+="[^"<]*")*)\s*(\/?)>/g)) {
      if (closing === '/') expect(open.pop()).to.equal(name)
      else if (empty !== '/') open.push(name!)
    }
    expect(open).to.deep.equal([])
    expect(svg).to.match(/^<svg /).and.contain('tivoli').and.contain('hawaii').and.not.contain('NaN').and.not.contain('Infinity')
    expect(svg.match(/<polyline/g)).to.have.length(8)
  })

  it('the command reads a description, and refuses a wrong one with its place', function () {
    this.timeout(120_000)
    const atoll = fileURLToPath(new URL('../../cli/atoll.ts', import.meta.url))
    const run = (input: string, ...words: string[]) => spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', atoll, 'simulate', '-', ...words], { input, encoding: 'utf8', timeout: 60_000 })
    const good = run(JSON.stringify(description()), '--json', '--placement', 'tivoli')
    expect(good.status, good.stderr).to.equal(0)
    expect(JSON.parse(good.stdout)).to.have.length(1)
    const wrong = run('{"nodes": []}')
    expect(wrong.status).to.equal(2)
    expect(wrong.stderr).to.contain('nodes')
  })
})
