/** Described for programs and people: GET /v1/openapi.json. */

const json = (schema: object): object => ({ 'application/json': { schema } })
const reference = (name: string): object => ({ $ref: `#/components/schemas/${name}` })
const text = { type: 'string' }
const texts = { type: 'array', items: text }
const whole = { type: 'integer' }
const refused = { description: 'Not possible: the code tells why.', content: json(reference('Error')) }
const path = (name: string, description: string): object => ({ name, in: 'path', required: true, description, schema: text })

const get = (summary: string, schema: object, parameters: object[] = []): object => ({
  summary, parameters, responses: { 200: { description: 'As asked.', content: json(schema) }, 401: refused, 404: refused, 503: refused }
})
const change = (summary: string, parameters: object[] = [], body?: object): object => ({
  summary,
  parameters,
  ...(body === undefined ? {} : { requestBody: { required: false, content: json(body) } }),
  responses: { 202: { description: 'Begun, and durable.', content: json(reference('Begun')) }, 400: refused, 401: refused, 404: refused, 503: refused }
})

const plan = path('plan', 'deploy, recovery, update, drain or uninstall')
const node = path('node', "A node's id, such as node-1")
const object = (properties: object, required: string[] = Object.keys(properties)): object => ({ type: 'object', properties, required })

export const openApi = {
  openapi: '3.1.0',
  info: { title: 'Atoll scheduler', version: '1', description: 'What the framework does, and how to steer it.' },
  security: [{ token: [] }],
  paths: {
    '/health': { get: { summary: 'Whether this process serves', security: [], responses: { 200: { description: 'It does.' } } } },
    '/metrics': { get: { summary: 'For Prometheus', responses: { 200: { description: 'Gauges.', content: { 'text/plain': { schema: text } } } } } },
    '/v1/status': { get: get('All that the framework knows', reference('Status')) },
    '/v1/explain': { get: get('Why nodes have their place, or none: rule by rule', reference('Explanation'), [{ name: 'node', in: 'query', required: false, schema: text }]) },
    '/v1/plans': { get: get('What is being done and what is left', { type: 'array', items: reference('Plan') }) },
    '/v1/plans/{plan}': { get: get('One plan', reference('Plan'), [plan]) },
    '/v1/plans/{plan}/pause': { post: change('Holds a plan', [plan]) },
    '/v1/plans/{plan}/resume': { post: change('Lets a plan go on', [plan]) },
    '/v1/plans/{plan}/steps/{node}/retry': { post: change('Tries a step again at once', [plan, node]) },
    '/v1/nodes': {
      get: get('All nodes', { type: 'array', items: reference('Node') }),
      put: change('How many nodes there are to be: fewer are drained, verified, and given back', [], object({ count: whole }))
    },
    '/v1/nodes/{node}/replace': { post: change('Moves the data of a node away and ends it, while another one comes', [node]) },
    '/v1/nodes/{node}/release': { post: change('Ends a node and destroys its volume, whatever it holds', [node]) },
    '/v1/update': {
      post: change('Restarts nodes with a new configuration or other sizes, or all of them, one fault domain after another', [], object({
        command: { oneOf: [text, texts] }, environment: { type: 'object', additionalProperties: text }, killGraceMs: whole, cpus: { type: 'number' }, memMb: { type: 'number' }, diskMb: { type: 'number' }, force: { type: 'boolean' }
      }, []))
    },
    '/v1/uninstall': {
      get: get('What an uninstall gives back', reference('Belongings')),
      post: change('Ends all tasks, destroys all volumes, unreserves everything, tears the framework down')
    }
  },
  components: {
    securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
    schemas: {
      Begun: object({ ok: { const: true } }),
      Error: object({ error: object({ code: text, message: text, hint: text }, ['code', 'message']) }),
      Plan: object({ name: text, status: reference('StepStatus'), phases: { type: 'array', items: object({ name: text, status: reference('StepStatus'), steps: { type: 'array', items: reference('Step') } }) } }),
      Step: object({ name: text, status: reference('StepStatus'), reason: text }),
      StepStatus: { enum: ['pending', 'working', 'complete', 'waiting', 'error', 'paused'] },
      Node: { type: 'object', required: ['id', 'state', 'reason'], properties: { id: text, state: text, reason: text, host: { type: ['string', 'null'] }, launches: whole, attempts: whole, outdated: { type: 'boolean' } } },
      Status: { type: 'object', required: ['clusterId', 'connected', 'goal', 'nodes', 'plans'], properties: {
        clusterId: text, frameworkId: { type: ['string', 'null'] }, connected: { type: 'boolean' }, goal: { enum: ['running', 'stopped', 'uninstalling', 'uninstalled'] },
        nodesWanted: whole, nodes: { type: 'array', items: reference('Node') }, plans: { type: 'array', items: reference('Plan') }, garbage: texts, strays: texts
      } },
      Explanation: object({ nodes: { type: 'array', items: reference('Node') }, evaluations: { type: 'array', items: reference('Evaluation') } }),
      Evaluation: { type: 'object', required: ['nodeId', 'hostname', 'outcome', 'chosen'], properties: {
        ageMs: whole, nodeId: text, hostname: text, agentId: text, offerIds: texts, chosen: { type: 'boolean' }, outcome: reference('Outcome'),
        score: { oneOf: [{ type: 'null' }, object({ points: { type: 'number' }, parts: { type: 'array', items: object({ source: text, points: { type: 'number' }, reason: text }) } })] }
      } },
      Outcome: { type: 'object', required: ['pass', 'source', 'reason'], properties: { pass: { type: 'boolean' }, source: text, reason: text, children: { type: 'array', items: reference('Outcome') } } },
      Belongings: { type: 'object', required: ['goal', 'tasks', 'volumes', 'reservations', 'strays', 'listed'], properties: {
        goal: text, tasks: texts, volumes: { type: 'array', items: { type: 'object' } }, reservations: texts, strays: texts, listed: { oneOf: [{ type: 'null' }, texts] }
      } }
    }
  }
}
