import { expect } from 'chai'
import { groupOffers } from '../../../scheduler/framework/agent-offer.ts'
import { checkConstraint, parseConstraint } from '../../../scheduler/framework/constraints.ts'
import { Crowd } from '../../../scheduler/framework/crowd.ts'
import type { Attribute, DomainInfo, Offer, ReservationInfo, Resource } from '../../../scheduler/mesos/types.ts'
import { readRecording } from '../mesos/recording.ts'
import { Script, afterwards, operationTypes, operationsOf, tasksOf, unreserved } from './script.ts'

const text = (name: string, value: string): Attribute => ({ name, type: 'TEXT', text: { value } })
const domain = (region: string, zone: string): DomainInfo => ({ fault_domain: { region: { name: region }, zone: { name: zone } } })
const offerWith = (attributes: Attribute[], more: Partial<Offer> = {}): Offer =>
  ({ id: { value: 'o' }, framework_id: { value: 'f' }, agent_id: { value: 'a' }, hostname: 'h1.example', attributes, allocation_info: { role: 'atoll' }, ...more })

describe('placement: constraints', () => {
  const attributes: Attribute[] = [
    text('rack', 'r1'), { name: 'weight', type: 'SCALAR', scalar: { value: 1.5 } }, { name: 'slots', type: 'RANGES', ranges: { range: [{ begin: 3, end: 9 }] } },
    { name: 'tags', type: 'SET', set: { item: ['ssd', 'fast'] } }
  ]
  const offer = groupOffers([offerWith(attributes, { domain: domain('eu', 'z1') })])[0]!
  const check = (constraint: string, counts = new Map<string, number>()): boolean => checkConstraint(parseConstraint(constraint), offer, counts).pass

  for (const [constraint, pass] of [
    ['rack=r1', true], ['rack=r2|r1', true], ['rack=r2', false], ['rack!=r2|r3', true], ['rack!=r1', false], ['rack~r[12]', true], ['rack~r', false], ['rack!~r.*', false],
    ['rack', true], ['gpu', false], ['gpu!=x', true], ['hostname=h1.example', true], ['hostname~h\\d\\..*', true], ['region=eu', true], ['zone=z2', false],
    ['weight=1.50', true], ['weight=2', false], ['slots=5', true], ['slots=10', false], ['slots=3-9', true], ['tags=ssd', true], ['tags!=fast', false], ['tags~s.*', true]
  ] as const) {
    it(`${constraint} ${pass ? 'passes' : 'fails'}`, () => { expect(check(constraint)).to.equal(pass) })
  }

  it('NAME<=N counts the nodes for each value; an agent without the attribute is in no full group', () => {
    expect(check('rack<=2', new Map([['r1', 1]]))).to.equal(true)
    expect(check('rack<=2', new Map([['r1', 2]]))).to.equal(false)
    expect(check('gpu<=1', new Map([['r1', 2]]))).to.equal(true)
  })

  for (const bad of ['', '=r1', 'rack=', 'rack<=0', 'rack<=x', 'rack~(', 'rack>3', 'a b=c', `rack~${'a'.repeat(300)}`]) {
    it(`refuses '${bad.slice(0, 20)}'`, () => { expect(() => parseConstraint(bad)).to.throw().with.property('code', 'ATOLL_INVALID') })
  }

  it('only agents that meet every constraint are taken, and each failing one is told with what the agent has', async () => {
    const script = await Script.begin(1, { constraints: ['rack=r2', 'zone!=z9'].map(parseConstraint) })
    await script.subscribe()
    await script.offers(script.offer('a1', unreserved(), { attributes: [text('rack', 'r1')], domain: domain('eu', 'z9') }))
    expect(script.node('node-1').lastEvaluation!.outcome.reason).to.contain('constraint rack=r2: wants r2; rack is r1').and.to.contain('constraint zone!=z9')
    const calls = await script.offers(script.offer('a2', unreserved(), { attributes: [text('rack', 'r2')] }))
    expect(operationTypes(calls)).to.deep.equal([['RESERVE', 'CREATE']])
  })

  it('at most N nodes in a rack, counted over nodes that are placed already, also after a restart', async () => {
    const script = await Script.begin(3, { constraints: [parseConstraint('rack<=1')], nodesPerAgentMax: 3 })
    await script.subscribe()
    const rack = (name: string): Partial<Offer> => ({ attributes: [text('rack', name)] })
    await script.offers(script.offer('a1', unreserved(), rack('r1')), script.offer('a2', unreserved(), rack('r1')))
    expect(script.states()).to.deep.equal(['node-1 reserving', 'node-2 wanted', 'node-3 wanted'])
    await script.crash()
    await script.offers(script.offer('a3', unreserved(), rack('r1')), script.offer('a4', unreserved(), rack('r2')))
    expect(script.states()).to.deep.equal(['node-1 reserving', 'node-2 reserving', 'node-3 wanted'])
    expect(script.node('node-3').lastEvaluation!.outcome.reason).to.contain('at most 1 for each rack')
  })
})

describe('placement: the best offer, not the first', () => {
  it('an empty zone outweighs an empty rack, that an empty host, that room on the disk; the reasons are told', async () => {
    const script = await Script.begin(3, { nodesPerAgentMax: 3 })
    await script.subscribe()
    const at = (zone: string, rack: string): Partial<Offer> => ({ domain: domain('eu', zone), attributes: [text('rack', rack)] })
    await script.offers(script.offer('a1', unreserved(), at('z1', 'r1')))
    // node-2: the other zone wins against much more room. node-3 had no offer left that fits a new zone.
    const agents = script.status().nodes.map(({ agentId }) => agentId)
    expect(agents).to.deep.equal(['a1', 'a1', 'a1'])
    const other = await Script.begin(2)
    await other.subscribe()
    await other.offers(
      other.offer('a1', unreserved({ disk: 90_000 }), at('z1', 'r1')), other.offer('a2', unreserved({ disk: 80_000 }), at('z1', 'r2')), other.offer('a3', unreserved({ disk: 2_000 }), at('z2', 'r1')))
    expect(other.status().nodes.map(({ agentId }) => agentId)).to.deep.equal(['a1', 'a3'])
    const { lastEvaluation } = other.node('node-2')
    expect(lastEvaluation).to.include({ chosen: true, hostname: 'host-a3' })
    expect(lastEvaluation!.score!.parts.map(({ source }) => source)).to.deep.equal(['spread over zones', 'spread over racks', 'spread over hosts', 'room on the disk', 'idle cpus'])
    expect(lastEvaluation!.score!.parts[0]).to.include({ reason: 'zone z2 has 0 nodes' })
    const beaten = other.status().evaluations.find(({ nodeId, agentId }) => nodeId === 'node-2' && agentId === 'a2')!
    expect(beaten.outcome.pass).to.equal(true)
    expect(beaten.chosen).to.equal(false)
    expect(beaten.score!.points).to.be.lessThan(lastEvaluation!.score!.points)
  })

  it('fewer nodes in a wider part of the cluster always outweigh all narrower parts', () => {
    for (let wide = 0; wide < 9; wide++) {
      const [zone, rack, host] = new Crowd([]).spread({ domain: ['r', 'z', 'k', 'h'] } as never).map(({ points }) => points) as [number, number, number]
      // One node more in a zone costs a tenth of its points: more than rack, host and all else can give.
      expect(zone / 10).to.be.greaterThan(rack + host + 10)
      expect(rack / 10).to.be.greaterThan(host + 10)
    }
  })
})

describe('placement: disks', () => {
  const scalarDisk = (value: number, disk?: Resource['disk']): Resource =>
    ({ name: 'disk', type: 'SCALAR', scalar: { value }, allocation_info: { role: 'atoll' }, ...(disk === undefined ? {} : { disk }) })
  const mount = (root: string): Resource['disk'] => ({ source: { type: 'MOUNT', mount: { root } } })
  const path = (root: string): Resource['disk'] => ({ source: { type: 'PATH', path: { root } } })
  const without = (): Resource[] => unreserved().filter(({ name }) => name !== 'disk')

  it('a MOUNT disk is taken whole, the smallest that is large enough', async () => {
    const script = await Script.begin(1, { diskType: 'mount' })
    await script.subscribe()
    const calls = await script.offers(script.offer('a1', [...without(), scalarDisk(50_000), scalarDisk(9_000, mount('/m1')), scalarDisk(3_000, mount('/m2')), scalarDisk(500, mount('/m3'))]))
    const held = afterwards(operationsOf(calls.find(({ type }) => type === 'ACCEPT')))
    expect(held.find(({ name }) => name === 'disk')).to.deep.include({ scalar: { value: 3_000 } })
    expect(held.find(({ name }) => name === 'disk')!.disk!.source).to.deep.equal({ type: 'MOUNT', mount: { root: '/m2' } })
    const [task] = (await script.offers(script.offer('a1', held))).flatMap(tasksOf)
    expect(JSON.parse(task!.command!.environment!.variables!.find(({ name }) => name === 'ATOLL_NODE')!.value!)).to.include({ capacityBytes: 3_000 * 1024 * 1024 })
    expect(script.node('node-1').disk).to.deep.equal({ type: 'mount', sizeMb: 3_000 })
  })

  it('two nodes on one agent get a mount each', async () => {
    const script = await Script.begin(2, { diskType: 'mount', nodesPerAgentMax: 2 })
    await script.subscribe()
    const calls = await script.offers(script.offer('a1', [...without(), scalarDisk(9_000, mount('/m1')), scalarDisk(9_000, mount('/m2'))]))
    const roots = afterwards(operationsOf(calls[0])).flatMap(({ disk }) => disk?.source?.mount?.root ?? [])
    expect(roots.sort()).to.deep.equal(['/m1', '/m2'])
  })

  it('of a PATH disk a part is taken; no other disk will do', async () => {
    const script = await Script.begin(1, { diskType: 'path' })
    await script.subscribe()
    await script.offers(script.offer('a1', [...without(), scalarDisk(50_000), scalarDisk(9_000, mount('/m1'))]))
    expect(script.node('node-1').lastEvaluation!.outcome.reason).to.contain('disk: needs 1024 MB, 0 MB of a PATH disk are offered')
    const calls = await script.offers(script.offer('a2', [...without(), scalarDisk(700, path('/p')), scalarDisk(600, path('/p'))]))
    expect(afterwards(operationsOf(calls[0])).find(({ name }) => name === 'disk')).to.deep.include({ scalar: { value: 1024 } })
  })

  it('the disks of a real agent are understood (recording 17)', () => {
    const offers = readRecording('17').events(1).flatMap((event) => event.type === 'OFFERS' ? event.offers.offers : [])
    const [pool] = groupOffers([offers[0]!])[0]!.pools
    expect(pool!.disks.map(({ type, sizeMb }) => `${type} ${sizeMb}`).sort()).to.deep.equal(['mount 32', 'mount 48', 'path 2000', 'root 5000'])
  })

  it('a volume on a mount is destroyed and unreserved with its source', async () => {
    const script = await Script.begin(1, { diskType: 'mount' })
    await script.subscribe()
    const held = afterwards(operationsOf((await script.offers(script.offer('a1', [...without(), scalarDisk(3_000, mount('/m2'))])))[0]))
    await script.send({ type: 'releaseNode', id: 'node-1' })
    const [destroy, unreserve] = operationsOf((await script.offers(script.offer('a1', held))).find((call) => operationsOf(call)[0]?.type === 'DESTROY'))
    expect(destroy).to.have.nested.property('destroy.volumes[0].disk.source.mount.root', '/m2')
    const disk = (unreserve as { unreserve: { resources: Resource[] } }).unreserve.resources.find(({ name }) => name === 'disk')
    expect(disk!.disk).to.deep.equal(mount('/m2'))
  })
})

describe('placement: reservations of a role above ours', () => {
  const base: ReservationInfo = { type: 'STATIC', role: 'atoll' }
  const reservedFor = (role: string, stack: ReservationInfo[]): Resource[] => unreserved().map((resource) => ({ ...resource, allocation_info: { role }, reservations: stack }))

  it('are refined, and fall back when they are given back', async () => {
    const script = await Script.begin(1, { role: 'atoll/cluster-a' })
    await script.subscribe()
    const more = { allocation_info: { role: 'atoll/cluster-a' } }
    const calls = await script.offers(script.offer('a1', reservedFor('atoll/cluster-a', [base]), more))
    const held = afterwards(operationsOf(calls[0]))
    for (const { reservations } of held) {
      expect(reservations!.map(({ type, role }) => `${type} ${role}`)).to.deep.equal(['STATIC atoll', 'DYNAMIC atoll/cluster-a'])
    }
    await script.send({ type: 'releaseNode', id: 'node-1' })
    const freed = (await script.offers(script.offer('a1', held, more))).map(operationsOf).find(([first]) => first?.type === 'DESTROY')!
    const { resources } = (freed[1] as { unreserve: { resources: Resource[] } }).unreserve
    expect(resources.every(({ reservations }) => reservations!.length === 2)).to.equal(true)
  })

  it('what is reserved for our very role without our labels is left alone', async () => {
    const script = await Script.begin(1)
    await script.subscribe()
    await script.offers(script.offer('a1', reservedFor('atoll', [base])))
    expect(script.states()).to.deep.equal(['node-1 wanted'])
  })

  it('amounts that lie in different reservations are not added up', async () => {
    const script = await Script.begin(1, { role: 'atoll/x', resources: { cpus: 5, memMb: 64, diskMb: 64 } })
    await script.subscribe()
    await script.offers(script.offer('a1', [...reservedFor('atoll/x', [base]), ...unreserved()], { allocation_info: { role: 'atoll/x' } }))
    expect(script.node('node-1').lastEvaluation!.outcome.reason).to.contain('cpus: needs 5, 4 unreserved')
  })
})
