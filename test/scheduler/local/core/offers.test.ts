import { expect } from 'chai'
import { filtersPerFrameworkMax } from '../../../../scheduler/local/constants.ts'
import { CoreHarness, cpusOf, info, launch, reserved, role } from '../core-harness.ts'
import { scalar } from '../master-harness.ts'

describe('the embedded master: offers', () => {
  it('everything free is offered at once, and only once', () => {
    const core = new CoreHarness()
    const { stream } = core.subscribe()
    expect(cpusOf(core.takeOffers(stream))).to.equal(4)
    core.advance(10)
    expect(core.takeOffers(stream)).to.deep.equal([])
  })

  const filters: Array<[string, number | undefined, number]> = [
    ['zero seconds: the next round', 0, 1],
    ['no filters: five seconds', undefined, 5],
    ['half a second: at least one round', 0.5, 1],
    ['a negative number: the default', -1, 5],
    ['twenty seconds', 20, 20]
  ]
  for (const [what, refuseSeconds, backAfter] of filters) {
    it(`declined resources come back after the filter (${what})`, () => {
      const core = new CoreHarness()
      const { stream, id } = core.subscribe()
      core.decline(id, core.takeOffers(stream), refuseSeconds)
      core.advance(backAfter - 1)
      expect(core.takeOffers(stream)).to.deep.equal([])
      core.advance(1)
      expect(cpusOf(core.takeOffers(stream))).to.equal(4)
    })
  }

  it('a filter holds back a part of what was refused, not more than that', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    core.accept(id, [offer!], [launch(offer!, 't1', [scalar('cpus', 1)]), launch(offer!, 't2', [scalar('cpus', 1)])], 1000)
    core.spawned('t1')
    core.spawned('t2')
    core.take(stream)
    core.exited('t1')
    expect(cpusOf(core.takeOffers(stream)), 'more than was refused').to.equal(3)
  })

  it('REVIVE clears filters and suppression of its roles, SUPPRESS keeps outstanding offers', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const offers = core.takeOffers(stream)
    core.call(id, { type: 'SUPPRESS' })
    expect(core.decline(id, offers, 1000)).to.equal(202)
    core.advance(5)
    expect(core.takeOffers(stream)).to.deep.equal([])
    core.call(id, { type: 'REVIVE', revive: { roles: ['other'] } })
    expect(core.takeOffers(stream), 'a role that it does not have').to.deep.equal([])
    core.call(id, { type: 'REVIVE', revive: { roles: [role] } })
    expect(cpusOf(core.takeOffers(stream))).to.equal(4)
  })

  it('two frameworks take turns at what both want', () => {
    const core = new CoreHarness()
    const one = core.subscribe()
    const other = core.subscribe({ ...info, name: 'other' })
    const offers = core.takeOffers(one.stream)
    core.decline(one.id, offers, 0)
    core.advance(1)
    expect(cpusOf(core.takeOffers(other.stream))).to.equal(4)
  })

  it('resources reserved for another role are not offered', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    core.accept(id, [offer!], [{ type: 'RESERVE', reserve: { resources: [reserved(scalar('cpus', 1))] } }])
    core.call(id, { type: 'TEARDOWN' })
    const other = core.subscribe({ ...info, roles: ['other'] })
    expect(cpusOf(core.takeOffers(other.stream))).to.equal(3)
    const child = core.subscribe({ ...info, roles: [`${role}/child`] })
    expect(cpusOf(core.takeOffers(child.stream)), 'a role below may use it').to.equal(1)
  })

  it('no number of declines makes more filters than the bound', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    for (let round = 0; round < filtersPerFrameworkMax + 50; round++) {
      const [offer] = core.takeOffers(stream)
      core.accept(id, [offer!], [launch(offer!, `t${round}`, [scalar('cpus', 0.01)])], 1_000_000)
      core.spawned(`t${round}`)
      core.exited(`t${round}`)
    }
    expect(core.state.frameworks.get(id)!.filters.length).to.equal(filtersPerFrameworkMax)
  })
})
