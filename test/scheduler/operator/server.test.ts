import { expect } from 'chai'
import { request as requestHttps } from 'node:https'
import { startFramework } from '../../../scheduler/framework/index.ts'
import type { Framework } from '../../../scheduler/framework/index.ts'
import { OperatorServer } from '../../../scheduler/operator/server.ts'
import { openApi } from '../../../scheduler/operator/openapi.ts'
import { SimClock } from '../../sim/clock.ts'
import { MemoryKv } from '../../sim/memory-kv.ts'
import { SimRandom } from '../../sim/random.ts'
import { frameworkInit, quietLog } from '../framework/harness.ts'
import { ModelMaster } from '../framework/model-master.ts'
import { ca, readTls } from '../mesos/tls-master.ts'

const token = 'a-token'

describe('operator API', () => {
  let clock: SimClock
  let master: ModelMaster
  let framework: Framework
  let server: OperatorServer
  let url: string

  beforeEach(async () => {
    clock = new SimClock()
    master = new ModelMaster({ clock, random: new SimRandom(1) })
    for (let index = 0; index < 3; index++) master.addAgent()
    framework = await startFramework({ kv: new MemoryKv(), clock, random: new SimRandom(2), log: quietLog, masterClientFactory: master.clientFactory() }, frameworkInit)
    server = new OperatorServer({ log: quietLog }, { host: '127.0.0.1', port: 0, token })
    url = await server.listen()
    server.use(framework)
  })

  afterEach(async () => {
    master.stop()
    await server.close()
    await framework.close()
  })

  async function ask (method: string, path: string, body?: unknown, headers: Record<string, string> = { authorization: `Bearer ${token}` }): Promise<{ status: number, body: any }> {
    const response = await fetch(url + path, { method, headers, ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }) })
    const text = await response.text()
    return { status: response.status, body: text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text }
  }

  it('shows plans, nodes, and for each node the offers, rule by rule, newest first', async () => {
    await clock.advance(5_000)
    const plans = (await ask('GET', '/v1/plans')).body
    expect(plans.map(({ name, status }: any) => `${name} ${status}`)).to.deep.equal(['deploy complete', 'recovery complete', 'update complete', 'drain complete', 'uninstall complete'])
    expect((await ask('GET', '/v1/plans/deploy')).body.phases[0].steps).to.have.length(3)
    const { nodes, evaluations } = (await ask('GET', '/v1/explain?node=node-2')).body
    expect(nodes.map(({ id }: any) => id)).to.deep.equal(['node-2'])
    expect(evaluations[0]).to.include({ nodeId: 'node-2', chosen: true })
    expect(evaluations[0].outcome.children.map(({ source }: any) => source)).to.include.members(['cpus', 'disk', 'ports', 'nodes per agent'])
    expect((await ask('GET', '/v1/nodes')).body.map(({ state }: any) => state)).to.deep.equal(['running', 'running', 'running'])
  })

  it('pauses, resumes, retries, scales, replaces, updates', async () => {
    await clock.advance(5_000)
    expect((await ask('POST', '/v1/plans/recovery/pause')).status).to.equal(202)
    master.endTask(framework.status().nodes[0]!.task!.id)
    await clock.advance(30_000)
    expect((await ask('GET', '/v1/plans/recovery')).body.status).to.equal('paused')
    expect((await ask('POST', '/v1/plans/recovery/resume')).status).to.equal(202)
    expect((await ask('POST', '/v1/plans/recovery/steps/node-1/retry')).status).to.equal(202)
    await clock.advance(5_000)
    expect((await ask('GET', '/v1/plans/recovery')).body.status).to.equal('complete')
    expect((await ask('PUT', '/v1/nodes', { count: 4 })).status).to.equal(202)
    expect(framework.status().nodesWanted).to.equal(4)
    expect((await ask('POST', '/v1/nodes/node-2/replace')).status).to.equal(202)
    expect(framework.status().nodes.find(({ id }) => id === 'node-2')!.state).to.equal('draining')
    expect((await ask('POST', '/v1/update', { environment: { LEVEL: 'debug' }, killGraceMs: 5 })).status).to.equal(202)
    expect(framework.configuration()).to.deep.include({ killGraceMs: 5, nodeCommand: { value: 'exec node', environment: { LEVEL: 'debug' } } })
    expect((await ask('GET', '/v1/plans/update')).body.status).to.equal('waiting')
  })

  it('lists what an uninstall gives back, and gives it back', async () => {
    await clock.advance(5_000)
    const before = (await ask('GET', '/v1/uninstall')).body
    expect(before.volumes).to.have.length(3)
    expect(before.tasks).to.have.length(3)
    expect(framework.status().goal).to.equal('running')
    expect((await ask('POST', '/v1/uninstall')).status).to.equal(202)
    await clock.advance(60_000)
    expect(framework.status().goal).to.equal('uninstalled')
    expect([...master.reservedIds()]).to.deep.equal([])
    expect(master.calls.at(-1)).to.deep.equal({ type: 'TEARDOWN' })
  })

  for (const [what, method, path, body, status, code] of [
    ['a path that is none', 'GET', '/v1/nope', undefined, 404, 'ATOLL_NOT_FOUND'],
    ['a method that is not possible', 'DELETE', '/v1/nodes', undefined, 405, 'ATOLL_INVALID'],
    ['an unknown plan', 'POST', '/v1/plans/nope/pause', undefined, 404, 'ATOLL_UNKNOWN_PLAN'],
    ['an unknown node', 'POST', '/v1/nodes/node-99/replace', undefined, 404, 'ATOLL_UNKNOWN_NODE'],
    ['an unknown node to explain', 'GET', '/v1/explain?node=node-99', undefined, 404, 'ATOLL_UNKNOWN_NODE'],
    ['no count', 'PUT', '/v1/nodes', {}, 400, 'ATOLL_INVALID'],
    ['an impossible count', 'PUT', '/v1/nodes', { count: 1 }, 400, 'ATOLL_INVALID'],
    ['a body that is not JSON', 'PUT', '/v1/nodes', '{', 400, 'ATOLL_INVALID'],
    ['an update of what cannot be', 'POST', '/v1/update', { role: 'x' }, 400, 'ATOLL_INVALID'],
    ['an update with an empty command', 'POST', '/v1/update', { command: [] }, 400, 'ATOLL_INVALID'],
    ['a body that is too long', 'PUT', '/v1/nodes', 'x'.repeat(2_000_000), 400, 'ATOLL_INVALID']
  ] as const) {
    it(`refuses ${what}`, async () => {
      const answer = await ask(method, path, body)
      expect(answer.status).to.equal(status)
      expect(answer.body.error).to.include({ code })
    })
  }

  it('hears a body out that is too long, so that the answer is heard', async () => {
    for (const length of [2_000_000, 20_000_000, 2_000_000, 20_000_000]) {
      const { status, body } = await ask('PUT', '/v1/nodes', 'x'.repeat(length))
      expect([status, body.error.code]).to.deep.equal([400, 'ATOLL_INVALID'])
    }
  })

  it('wants its token for all but /health, and says that it stands by', async () => {
    for (const headers of [{}, { authorization: 'Bearer other' }, { authorization: `Basic ${token}` }]) {
      expect((await ask('GET', '/v1/status', undefined, headers as Record<string, string>)).status).to.equal(401)
      expect((await ask('POST', '/v1/uninstall', undefined, headers as Record<string, string>)).status).to.equal(401)
    }
    expect((await ask('GET', '/health', undefined, {})).status).to.equal(200)
    server.use(undefined)
    expect((await ask('GET', '/v1/status')).body.error).to.include({ code: 'ATOLL_STANDBY' })
    server.standBy('http://10.0.0.1:7000')
    const { status, body: { error } } = await ask('GET', '/v1/status')
    expect(status).to.equal(503)
    expect(error).to.deep.equal({ code: 'ATOLL_STANDBY', message: 'this scheduler stands by: the one at http://10.0.0.1:7000 acts', hint: 'ask that one: --api http://10.0.0.1:7000 --token-file PATH (operator-token in its data directory)' })
    server.use(framework)
    expect((await ask('GET', '/v1/status')).status).to.equal(200)
  })

  it('describes itself: each path of the description is there, and no other', async () => {
    const described = (await ask('GET', '/v1/openapi.json')).body
    expect(described).to.deep.equal(JSON.parse(JSON.stringify(openApi)))
    for (const [path, methods] of Object.entries(openApi.paths)) {
      const real = path.replace('{plan}', 'deploy').replace('{node}', 'node-1')
      const { status } = await ask('OPTIONS', real)
      expect(status, path).to.equal(path === '/health' ? 200 : path === '/metrics' ? 404 : 405)
      expect(Object.keys(methods).every((method) => ['get', 'put', 'post'].includes(method))).to.equal(true)
    }
    const references = JSON.stringify(openApi).match(/#\/components\/schemas\/(\w+)/g)!.map((text) => text.split('/').at(-1)!)
    expect(new Set(references)).to.satisfy((names: Set<string>) => [...names].every((name) => name in openApi.components.schemas))
  })

  it('answers as it is described: no field of a described answer is missing', async () => {
    await clock.advance(5_000)
    const schemas = openApi.components.schemas as Record<string, { required?: string[] }>
    const has = (value: any, name: string): void => { expect(Object.keys(value), name).to.include.members(schemas[name]!.required ?? []) }
    has((await ask('GET', '/v1/status')).body, 'Status')
    has((await ask('GET', '/v1/uninstall')).body, 'Belongings')
    const explanation = (await ask('GET', '/v1/explain')).body
    has(explanation, 'Explanation')
    for (const evaluation of explanation.evaluations) has(evaluation, 'Evaluation')
    for (const plan of (await ask('GET', '/v1/plans')).body) has(plan, 'Plan')
  })

  it('counts for Prometheus', async () => {
    await clock.advance(5_000)
    const { body } = await ask('GET', '/metrics')
    expect(body).to.contain('atoll_scheduler_connected 1\n').and.contain('atoll_scheduler_nodes{state="running"} 3\n').and.contain('atoll_scheduler_launches{node="node-1"} 1\n')
    for (const line of body.trimEnd().split('\n')) expect(line).to.match(/^(# (HELP|TYPE) \w+ .+|\w+(\{\w+="[^"]*"\})? -?[\d.e+]+)$/)
  })

  it('speaks https with a certificate', async () => {
    const secure = new OperatorServer({ log: quietLog }, { host: '127.0.0.1', port: 0, token, tls: readTls('server') })
    const address = await secure.listen()
    secure.use(framework)
    const status = await new Promise<number | undefined>((resolve, reject) => {
      requestHttps(`${address}/v1/plans`, { ca, headers: { authorization: `Bearer ${token}` }, agent: false }, (response) => {
        response.resume()
        resolve(response.statusCode)
      }).on('error', reject).end()
    })
    expect(address).to.match(/^https:/)
    expect(status).to.equal(200)
    await secure.close()
  })

  it('a port that is taken is told', async () => {
    const other = new OperatorServer({ log: quietLog }, { host: '127.0.0.1', port: Number(new URL(url).port), token })
    const code = await other.listen().then(() => null, (error: { code: string }) => error.code)
    expect(code).to.equal('ATOLL_PORT_IN_USE')
  })
})
