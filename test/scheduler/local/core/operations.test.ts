import { expect } from 'chai'
import type { Offer, Resource } from '../../../../scheduler/mesos/types.ts'
import { CoreHarness, cpusOf, launch, reserved, role, volume } from '../core-harness.ts'
import { scalar } from '../master-harness.ts'

describe('the embedded master: operations', () => {
  const begin = (): { core: CoreHarness, stream: number, id: string, offer: Offer } => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    return { core, stream, id, offer: core.takeOffers(stream)[0]! }
  }

  it('reserve, create, launch in one ACCEPT: what the task uses is not offered any more', () => {
    const { core, stream, id, offer } = begin()
    const cpus = reserved(scalar('cpus', 1))
    core.accept(id, [offer], [
      { type: 'RESERVE', reserve: { resources: [cpus, reserved(scalar('disk', 100))] } },
      { type: 'CREATE', create: { volumes: [volume(100, 'v1')] } },
      launch(offer, 't1', [cpus, volume(100, 'v1')])
    ])
    const order = core.effects.find((effect) => effect.type === 'launch')
    expect(order).to.deep.include({ type: 'launch' })
    expect((order as any).order.volumes).to.deep.equal([{ role, id: 'v1', containerPath: 'data', readOnly: false }])
    expect(core.effects.findIndex(({ type }) => type === 'create-volume')).to.be.below(core.effects.indexOf(order!))
    core.effects = []
    core.advance(1)
    expect(cpusOf(core.takeOffers(stream))).to.equal(3)
  })

  it('reservations and volumes of a torn down framework are offered to the next one of the role', () => {
    const { core, id, offer } = begin()
    core.accept(id, [offer], [
      { type: 'RESERVE', reserve: { resources: [reserved(scalar('cpus', 1)), reserved(scalar('disk', 100))] } },
      { type: 'CREATE', create: { volumes: [volume(100, 'v1')] } }
    ])
    core.call(id, { type: 'TEARDOWN' })
    core.effects = []
    const next = core.subscribe()
    const offered = core.takeOffers(next.stream).flatMap(({ resources = [] }) => resources)
    expect(offered.some(({ disk }) => disk?.persistence?.id === 'v1')).to.equal(true)
  })

  const invalid: Array<[string, any, RegExp]> = [
    ['shared volume', { type: 'CREATE', create: { volumes: [{ ...volume(10, 'v'), shared: {} }] } }, /not supported/],
    ['container path above the sandbox', { type: 'CREATE', create: { volumes: [{ ...volume(10, 'v'), disk: { persistence: { id: 'v', principal: 'p' }, volume: { mode: 'RW', container_path: 'a/../../b' } } }] } }, /within the sandbox/],
    ['absolute container path', { type: 'CREATE', create: { volumes: [{ ...volume(10, 'v'), disk: { persistence: { id: 'v', principal: 'p' }, volume: { mode: 'RW', container_path: '/etc' } } }] } }, /within the sandbox/],
    ['persistence id with a slash', { type: 'CREATE', create: { volumes: [volume(10, 'a/b')] } }, /invalid characters/],
    ['persistence id ..', { type: 'CREATE', create: { volumes: [volume(10, '..')] } }, /disallowed/],
    ['read-only volume', { type: 'CREATE', create: { volumes: [{ ...volume(10, 'v'), disk: { persistence: { id: 'v', principal: 'p' }, volume: { mode: 'RO', container_path: 'data' } } }] } }, /RW/],
    ['two volumes of one id', { type: 'CREATE', create: { volumes: [volume(10, 'v'), volume(10, 'v')] } }, /not unique/],
    ['reserve nothing', { type: 'RESERVE', reserve: { resources: [] } }, /empty/],
    ['reserve unreserved', { type: 'RESERVE', reserve: { resources: [scalar('cpus', 1)] } }, /unreserved/],
    ['a disk of a resource provider', { type: 'CREATE_DISK' }, /not supported/],
    ['a disk of type BLOCK', { type: 'RESERVE', reserve: { resources: [{ ...reserved(scalar('disk', 10)), disk: { source: { type: 'BLOCK' } } }] } }, /not supported/]
  ]
  for (const [what, operation, message] of invalid) {
    it(`an operation that is not possible is an error for its id and changes nothing (${what})`, () => {
      const { core, stream, id, offer } = begin()
      const before = JSON.stringify(core.state.agents.get('agent')!.total)
      expect(core.accept(id, [offer], [{ ...operation, id: { value: 'op' } }])).to.equal(202)
      const [event] = core.take(stream) as any[]
      expect(event.update_operation_status.status).to.deep.include({ state: 'OPERATION_ERROR', operation_id: { value: 'op' } })
      expect(event.update_operation_status.status.message).to.match(message)
      expect(JSON.stringify(core.state.agents.get('agent')!.total)).to.equal(before)
    })
  }

  it('operation updates are repeated after 10 s, 20 s, 40 s until they are acknowledged', () => {
    const { core, stream, id, offer } = begin()
    core.accept(id, [offer], [{ type: 'RESERVE', id: { value: 'op' }, reserve: { resources: [reserved(scalar('cpus', 1))] } }])
    const times: number[] = []
    for (let second = 0; second < 80; second++) {
      for (const event of core.take(stream)) if (event.type === 'UPDATE_OPERATION_STATUS') times.push(second)
      core.advance(1)
    }
    expect(times).to.deep.equal([0, 10, 30, 70])
    const [operation] = core.state.operations.values()
    expect(core.call(id, { type: 'ACKNOWLEDGE_OPERATION_STATUS', acknowledge_operation_status: { operation_id: { value: 'op' }, uuid: operation!.uuid } })).to.equal(202)
    expect(core.state.operations.size).to.equal(0)
    expect([...core.store.keys()].filter((key) => key.startsWith('operation/'))).to.deep.equal([])
  })

  describe('a volume of another size', () => {
    const grow = (mb: number, addition: Resource, id = 'v1'): any => ({ type: 'GROW_VOLUME', id: { value: 'op' }, grow_volume: { volume: volume(mb, id), addition } })
    const shrink = (mb: number, value: number): any => ({ type: 'SHRINK_VOLUME', id: { value: 'op' }, shrink_volume: { volume: volume(mb, 'v1'), subtract: { value } } })
    const beginWithVolume = (): { core: CoreHarness, stream: number, id: string, offer: Offer } => {
      const { core, stream, id, offer } = begin()
      core.accept(id, [offer], [
        { type: 'RESERVE', reserve: { resources: [reserved(scalar('cpus', 1)), reserved(scalar('disk', 300))] } },
        { type: 'CREATE', create: { volumes: [volume(100, 'v1')] } }
      ])
      core.advance(1)
      return { core, stream, id, offer: core.takeOffers(stream).at(-1)! }
    }
    const outcome = (core: CoreHarness, stream: number): any => core.events(stream).flatMap((event) => event.type === 'UPDATE_OPERATION_STATUS' ? event.update_operation_status.status : []).at(-1)

    for (const [what, operation, message] of [
      ['grows by nothing', grow(100, reserved(scalar('disk', 0))), 'must be greater than zero'],
      ['grows by another reservation', grow(100, reserved(scalar('disk', 10), 'b')), 'Incompatible resources'],
      ['grows by more than is offered', grow(100, reserved(scalar('disk', 201))), 'does not contain'],
      ['is not there', grow(100, reserved(scalar('disk', 10)), 'v2'), 'Persistent volume not found'],
      ['is not so big', grow(90, reserved(scalar('disk', 10))), 'does not contain'],
      ['shrinks by nothing', shrink(100, 0), 'must be greater than zero'],
      ['shrinks to nothing', shrink(100, 100), 'must be less than that of the volume']
    ] as const) {
      it(`is refused: it ${what}`, () => {
        const { core, stream, id, offer } = beginWithVolume()
        core.accept(id, [offer], [operation])
        expect(outcome(core, stream)).to.include({ state: 'OPERATION_ERROR' })
        expect(outcome(core, stream).message).to.contain(message)
      })
    }

    it('cannot be used in the same ACCEPT, and not be resized while a task uses it', () => {
      const { core, stream, id, offer } = beginWithVolume()
      core.accept(id, [offer], [grow(100, reserved(scalar('disk', 50))), launch(offer, 't1', [reserved(scalar('cpus', 1)), volume(150, 'v1')])])
      expect(core.takeUpdates(stream)).to.have.length(1)
      core.advance(1)
      const [next] = core.takeOffers(stream)
      core.accept(id, [next!], [launch(next!, 't2', [reserved(scalar('cpus', 1)), volume(150, 'v1')]), shrink(150, 50)])
      expect(outcome(core, stream).message).to.equal('Persistent volume in use')
    })

    it('on a MOUNT disk is refused', () => {
      const mount = { source: { type: 'MOUNT' as const, mount: { root: '/mnt/1' } } }
      const core = new CoreHarness(undefined, [scalar('cpus', 1), scalar('mem', 100), { ...scalar('disk', 32), disk: mount }])
      const { stream, id } = core.subscribe()
      const whole = { ...volume(32, 'v1'), disk: { ...volume(32, 'v1').disk, ...mount } }
      core.accept(id, core.takeOffers(stream), [
        { type: 'RESERVE', reserve: { resources: [{ ...reserved(scalar('disk', 32)), disk: mount }] } }, { type: 'CREATE', create: { volumes: [whole] } },
        { type: 'SHRINK_VOLUME', id: { value: 'op' }, shrink_volume: { volume: whole, subtract: { value: 16 } } } as any
      ])
      expect(outcome(core, stream).message).to.contain('the whole disk')
    })
  })
})
