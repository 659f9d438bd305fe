import { expect } from 'chai'
import fc from 'fast-check'
import { beyond, contains, minus, normalList, normalOf, plus, popReservation, totalScalar, unreserved, withoutVolume } from '../../../scheduler/local/core/resources.ts'
import { textOf } from '../../../scheduler/local/core/resource-text.ts'
import type { ReservationInfo, Resource } from '../../../scheduler/mesos/types.ts'

const reservation = (role: string, id?: string): ReservationInfo => ({ type: 'DYNAMIC', role, principal: 'p', ...(id !== undefined && { labels: { labels: [{ key: 'resource_id', value: id }] } }) })
const cpus = (value: number, ...reservations: ReservationInfo[]): Resource => ({ name: 'cpus', type: 'SCALAR', scalar: { value }, ...(reservations.length > 0 && { reservations }) })
const portRange = (...range: Array<[number, number]>): Resource => ({ name: 'ports', type: 'RANGES', ranges: { range: range.map(([begin, end]) => ({ begin, end })) } })
const volume = (value: number, id: string, path = 'data'): Resource => ({
  name: 'disk', type: 'SCALAR', scalar: { value }, reservations: [reservation('r')], disk: { persistence: { id, principal: 'p' }, volume: { mode: 'RW', container_path: path } }
})

describe('resources', () => {
  it('equal reservations add up, others stay apart', () => {
    const sum = plus([cpus(1), cpus(1, reservation('r', 'a'))], [cpus(0.2), cpus(2, reservation('r', 'a')), cpus(4, reservation('r', 'b'))])
    expect(sum.map((resource) => resource.scalar!.value)).to.deep.equal([1.2, 3, 4])
  })

  it('scalars have three decimals: 0.1 ten times is 1', () => {
    const ten = Array.from({ length: 10 }, () => cpus(0.1)).reduce<Resource[]>((sum, one) => plus(sum, [one]), [])
    expect(ten).to.deep.equal([cpus(1)])
    expect(minus(ten, [cpus(1)])).to.deep.equal([])
  })

  it('a list holds a part only with the same reservation', () => {
    expect(contains([cpus(4)], [cpus(1, reservation('r'))])).to.equal(false)
    expect(contains([cpus(4, reservation('r'))], [cpus(1)])).to.equal(false)
    expect(contains([cpus(4, reservation('r'))], [cpus(4, reservation('r'))])).to.equal(true)
    expect(contains([cpus(4)], [cpus(4.001)])).to.equal(false)
  })

  it('a volume is taken whole, and wherever it is to be mounted', () => {
    expect(contains([volume(100, 'v')], [volume(50, 'v')])).to.equal(false)
    expect(minus([volume(100, 'v')], [volume(100, 'v', 'elsewhere')])).to.deep.equal([])
    expect(plus([volume(100, 'v')], [volume(100, 'w')])).to.have.length(2)
    expect(contains([volume(100, 'v')], [volume(100, 'w')])).to.equal(false)
  })

  it('a MOUNT disk is taken whole, a PATH disk in parts, and neither adds up with another root', () => {
    const disk = (value: number, type: 'PATH' | 'MOUNT', root: string): Resource => ({ name: 'disk', type: 'SCALAR', scalar: { value }, disk: { source: type === 'PATH' ? { type, path: { root } } : { type, mount: { root } } } })
    expect(contains([disk(32, 'MOUNT', '/1')], [disk(16, 'MOUNT', '/1')])).to.equal(false)
    expect(minus([disk(32, 'MOUNT', '/1')], [disk(32, 'MOUNT', '/1')])).to.deep.equal([])
    expect(minus([disk(32, 'PATH', '/1')], [disk(16, 'PATH', '/1')])).to.deep.equal([disk(16, 'PATH', '/1')])
    expect(plus([disk(32, 'PATH', '/1')], [disk(16, 'PATH', '/2'), disk(16, 'PATH', '/1')]).map(({ scalar }) => scalar!.value)).to.deep.equal([48, 16])
    expect(beyond([disk(64, 'MOUNT', '/1')], [disk(32, 'MOUNT', '/1')])).to.deep.equal([])
    expect(textOf([disk(32, 'MOUNT', '/1')], 'r')).to.equal('disk(allocated: r)[MOUNT:/1]:32')
  })

  it('the form before refinement reads as one reservation', () => {
    const legacy = { name: 'cpus', type: 'SCALAR', scalar: { value: 1 }, role: 'r', reservation: { principal: 'p' }, allocation_info: { role: 'r' } } as Resource
    expect(normalOf(legacy)).to.deep.equal(cpus(1, { type: 'DYNAMIC', role: 'r', principal: 'p' }))
    expect(normalOf({ ...cpus(1), role: '*' })).to.deep.equal(cpus(1))
    expect(normalOf({ ...cpus(1), role: 'r' })).to.deep.equal(cpus(1, { type: 'STATIC', role: 'r' }))
  })

  it('popping a reservation uncovers the one below', () => {
    const refined = cpus(1, { type: 'STATIC', role: 'a' }, reservation('a/b'))
    expect(popReservation(refined)).to.deep.equal(cpus(1, { type: 'STATIC', role: 'a' }))
    expect(popReservation(popReservation(refined))).to.deep.equal(cpus(1))
    expect(withoutVolume(volume(5, 'v'))).to.deep.equal({ name: 'disk', type: 'SCALAR', scalar: { value: 5 }, reservations: [reservation('r')] })
  })

  it('what a machine has beyond its reservations is never negative', () => {
    expect(beyond([cpus(4), portRange([1, 10])], [cpus(6), portRange([5, 20])])).to.deep.equal([portRange([1, 4])])
    expect(unreserved([cpus(1, reservation('r')), cpus(2), volume(3, 'v')])).to.deep.equal([cpus(3), { name: 'disk', type: 'SCALAR', scalar: { value: 3 } }])
  })

  it('sums a scalar over all reservations', () => {
    expect(totalScalar([cpus(1), cpus(0.5, reservation('r')), volume(7, 'v')], 'cpus')).to.equal(1.5)
  })

  it('empty resources vanish', () => {
    expect(normalList([cpus(0), portRange(), portRange([5, 4])])).to.deep.equal([])
  })

  it('prints as Mesos does', () => {
    expect(textOf([])).to.equal('{}')
    expect(textOf([portRange([1, 2], [4, 4]), volume(5, 'v')], 'r')).to.equal('ports(allocated: r):[1-2, 4-4]; disk(allocated: r)(reservations: [(DYNAMIC,r,p)])[v:data]:5')
  })
})

describe('ranges of ports agree with sets of ports', () => {
  const ports = fc.uniqueArray(fc.integer({ min: 1, max: 30 }), { maxLength: 15 })
  const listOf = (numbers: number[]): Resource[] => normalList([portRange(...numbers.map((port): [number, number] => [port, port]))])
  const setOf = (list: readonly Resource[]): number[] => list.flatMap(({ ranges }) => ranges!.range.flatMap(({ begin, end }) => Array.from({ length: end - begin + 1 }, (_, index) => begin + index))).sort((a, b) => a - b)
  const sorted = (numbers: Iterable<number>): number[] => [...numbers].sort((a, b) => a - b)

  it('union, difference, intersection', () => {
    fc.assert(fc.property(ports, ports, (one, other) => {
      expect(setOf(plus(listOf(one), listOf(other)))).to.deep.equal(sorted(new Set([...one, ...other])))
      const rest = minus(listOf(one), listOf(other))
      if (other.every((port) => one.includes(port))) expect(setOf(rest!)).to.deep.equal(sorted(one.filter((port) => !other.includes(port))))
      else expect(rest).to.equal(undefined)
      expect(setOf(beyond(listOf(one), listOf(other)))).to.deep.equal(sorted(one.filter((port) => !other.includes(port))))
    }))
  })

  it('ranges stay disjoint, sorted and as few as possible', () => {
    fc.assert(fc.property(ports, (numbers) => {
      const [resource] = listOf(numbers)
      const range = resource?.ranges?.range ?? []
      for (const [index, { begin, end }] of range.entries()) {
        expect(begin <= end).to.equal(true)
        if (index > 0) expect(begin > range[index - 1]!.end + 1).to.equal(true)
      }
    }))
  })
})
