import { expect } from 'chai'
import type { ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { FrameworkStatus, NodeStatus } from '../../scheduler/framework/index.ts'
import { Place, start, until } from './harness.ts'

const tlsPath = (name: string): string => fileURLToPath(new URL(`../fixtures/tls/${name}`, import.meta.url))
const masterProcess = fileURLToPath(new URL('../scheduler/local/master-process.ts', import.meta.url))
const limitMs = 120_000

describe('node artifact over https: a master with its agent, and a scheduler, each a process of its own', function () {
  this.timeout(limitMs)
  let place: Place
  const children: ChildProcess[] = []

  beforeEach(() => { place = new Place() })

  afterEach(async () => {
    for (const child of children.splice(0).reverse()) child.kill('SIGTERM')
    await place.clean()
  })

  /** With `trusted` the agent's machine trusts the authority of the scheduler's certificate. */
  async function begin (trusted: boolean): Promise<void> {
    const master = start([process.execPath, '--disable-warning=ExperimentalWarning', masterProcess, place.folder('master')], {
      limitMs, env: { NODE_EXTRA_CA_CERTS: trusted ? tlsPath('ca.pem') : '' }
    })
    children.push(master.child)
    await until('a master', () => master.text().includes('\n'))
    const { url } = JSON.parse(master.text()) as { url: string }
    children.push(start(place.command(
      'scheduler', '--master', url, '--data', place.folder('scheduler'), '--nodes', '1', '--cpus', '0.1', '--mem', '128', '--disk', '256', '--artifact',
      '--listen', '127.0.0.1:0', '--listen-cert', tlsPath('server.pem'), '--listen-key', tlsPath('server.key')
    ), { limitMs }).child)
  }

  async function node (): Promise<NodeStatus | undefined> {
    const { code, stdout } = await place.atoll('scheduler', 'show', '--json', '--data', place.path('scheduler'), '--api-ca', tlsPath('ca.pem'))
    return code === 0 ? (JSON.parse(stdout) as FrameworkStatus).nodes[0] : undefined
  }

  const sandboxes = (): string[] => readdirSync(place.path('master', 'tasks')).map((name) => place.path('master', 'tasks', name))

  it('what the agent has fetched is what the scheduler serves, by its sums, and the node that runs of it is well', async () => {
    await begin(true)
    let running: NodeStatus | undefined
    await until('a running node', async () => (running = await node())?.state === 'running', limitMs)
    const { url } = JSON.parse(readFileSync(place.path('scheduler', 'operator.json'), 'utf8')) as { url: string }
    expect(url).to.match(/^https:/)
    await until('the node serves', async () => (await place.atoll('status', '--cluster', `127.0.0.1:${running!.rpcPort}`)).code !== 3)
    const [sandbox] = sandboxes()
    const sumOf = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')
    expect(sumOf(join(sandbox!, 'atoll.tar.gz'))).to.equal(sumOf(place.path('scheduler', 'artifact', 'atoll.tar.gz')))
    expect(readdirSync(sandbox!)).to.include.members(['node', 'bootstrap.ts', 'atoll'])
  })

  it('an agent that does not trust the certificate runs nothing, and the node\'s reason tells why', async () => {
    await begin(false)
    // Of one answer: it is launched again soon, and then its reason is that.
    await until('a node that failed because of the certificate', async () => /certificate/.test((await node())?.reason ?? ''), limitMs)
    for (const sandbox of sandboxes()) expect(readdirSync(sandbox)).to.not.include('atoll')
  })
})
