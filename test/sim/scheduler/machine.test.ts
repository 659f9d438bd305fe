import { expect } from 'chai'
import type { NodeSpec } from '../../../fsnode/protocol/node-spec.ts'
import type { SimNode } from '../node.ts'
import { SimMachine } from './machine.ts'

describe('the machines of the simulation', () => {
  const spec = { nodeId: 'node-1' } as NodeSpec
  let violations: string[]
  let exits: unknown[]
  let node: { host: string, onEnd: SimNode['onEnd'], recover: () => void, start: () => void, started: number }
  let machine: SimMachine

  beforeEach(() => {
    violations = []
    exits = []
    node = { host: 'm', onEnd: () => {}, recover: () => {}, started: 0, start: () => { node.started++ } }
    machine = new SimMachine(node as unknown as SimNode, 'agent', (what) => { violations.push(what) })
    machine.onExit = (_, exit) => { exits.push(exit) }
  })

  it('find two tasks at once on a volume, and a node that is given another volume', () => {
    machine.release(machine.spawn('v1'), spec)
    expect([node.started, violations]).to.deep.equal([1, []])
    machine.spawn('v1')
    expect(violations).to.have.length(1)
    node.onEnd('kill')
    machine.release(machine.spawn('v2'), spec)
    expect(violations).to.have.length(3)
  })

  it('run nothing before it is released, and nothing of an agent that has gone before', () => {
    const identity = machine.spawn('v1')
    expect(node.started).to.equal(0)
    machine.abandon(identity)
    machine.release(identity, spec)
    expect([node.started, machine.runs(identity), violations]).to.deep.equal([0, false, []])
  })

  it('tell how a process ended, and nothing while there is no power', () => {
    machine.release(machine.spawn('v1'), spec)
    node.onEnd('stopped')
    machine.release(machine.spawn('v1'), spec)
    node.onEnd('kill')
    const heard: string[] = []
    machine.onPresence = () => { heard.push(machine.presence) }
    machine.release(machine.spawn('v1'), spec)
    node.onEnd('power')
    machine.hear('registered')
    node.recover()
    expect(exits).to.deep.equal([{ status: 0 }, { signal: 'SIGKILL' }])
    expect(heard).to.deep.equal(['away', 'registered'])
    expect(violations).to.deep.equal([])
  })
})
