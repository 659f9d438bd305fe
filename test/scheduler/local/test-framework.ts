import { request, type ClientRequest } from 'node:http'
import { RecordDecoder } from '../../../scheduler/mesos/recordio.ts'
import type { Id, Offer, Operation, TaskStatus } from '../../../scheduler/mesos/types.ts'
import { info } from './core-harness.ts'

/** A framework over real sockets that acknowledges every update. */
export class TestFramework {
  readonly url: string
  id = ''
  readonly events: any[] = []
  readonly updates: TaskStatus[] = []
  offers: Offer[] = []
  private streamId = ''
  private subscription: ClientRequest | undefined
  private waiters: Array<() => void> = []

  constructor (url: string, id = '') {
    this.url = url
    this.id = id
  }

  async subscribe (): Promise<void> {
    const own = this.id === '' ? {} : { id: { value: this.id } }
    const body = { type: 'SUBSCRIBE', ...(this.id !== '' && { framework_id: own.id }), subscribe: { framework_info: { ...info, failover_timeout: 3600, ...own } } }
    const decoder = new RecordDecoder()
    this.subscription = request(`${this.url}/api/v1/scheduler`, { method: 'POST', headers: { 'content-type': 'application/json' } }, (response) => {
      this.streamId = String(response.headers['mesos-stream-id'])
      response.on('error', () => {})
      response.on('data', (chunk: Buffer) => { for (const record of decoder.push(chunk)) this.receive(JSON.parse(record.toString())) })
    })
    this.subscription.on('error', () => {})
    this.subscription.end(JSON.stringify(body))
    await this.until(() => this.id !== '' && this.events.some(({ type }) => type === 'SUBSCRIBED' || type === 'ERROR'), 'SUBSCRIBED')
  }

  disconnect (): void { this.subscription?.destroy() }

  async call (body: object): Promise<number> {
    const response = await fetch(`${this.url}/api/v1/scheduler`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'mesos-stream-id': this.streamId },
      body: JSON.stringify({ framework_id: { value: this.id }, ...body })
    })
    await response.arrayBuffer()
    return response.status
  }

  /** On all that is on offer; what is left is refused for long. */
  async accept (operations: (agentId: Id) => Operation[]): Promise<void> {
    await this.until(() => this.offers.length > 0, 'an offer')
    const taken = this.offers.splice(0)
    await this.call({ type: 'ACCEPT', accept: { offer_ids: taken.map(({ id }) => id), operations: operations(taken[0]!.agent_id), filters: { refuse_seconds: 3600 } } })
  }

  async launch (id: string, command: object, more: object = {}, resources: object[] = [{ name: 'cpus', type: 'SCALAR', scalar: { value: 0.1 } }]): Promise<void> {
    if (this.offers.length === 0) await this.call({ type: 'REVIVE' })
    await this.accept((agentId) => [{ type: 'LAUNCH', launch: { task_infos: [{ name: id, task_id: { value: id }, agent_id: agentId, resources, command, ...more }] } } as any])
  }

  kill (id: string, graceMs?: number): Promise<number> {
    return this.call({ type: 'KILL', kill: { task_id: { value: id }, ...(graceMs !== undefined && { kill_policy: { grace_period: { nanoseconds: graceMs * 1e6 } } }) } })
  }

  /** The first update of this state. */
  async state (id: string, state: string): Promise<TaskStatus> {
    const find = (): TaskStatus | undefined => this.updates.find((status) => status.task_id.value === id && status.state === state)
    await this.until(() => find() !== undefined, `${state} of ${id}`)
    return find()!
  }

  statesOf (id: string): string[] { return this.updates.filter((status) => status.task_id.value === id).map(({ state }) => state) }

  async until (condition: () => boolean, what: string, limitMs = 60_000): Promise<void> {
    const end = performance.now() + limitMs
    while (!condition()) {
      const leftMs = end - performance.now()
      if (leftMs <= 0) throw new Error(`${what} does not come; events: ${JSON.stringify(this.events.map(({ type }) => type))} ${JSON.stringify(this.updates.map(({ task_id: id, state, message }) => [id.value, state, message]))}`)
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        this.waiters.push(resolve)
        timer = setTimeout(resolve, Math.min(leftMs, 100))
      })
      clearTimeout(timer)
    }
  }

  private receive (event: any): void {
    this.events.push(event)
    if (event.type === 'SUBSCRIBED') this.id = event.subscribed.framework_id.value
    if (event.type === 'OFFERS') this.offers.push(...event.offers.offers)
    if (event.type === 'UPDATE') {
      const status: TaskStatus = event.update.status
      this.updates.push(status)
      if (status.uuid !== undefined) void this.call({ type: 'ACKNOWLEDGE', acknowledge: { agent_id: status.agent_id, task_id: status.task_id, uuid: status.uuid } }).catch(() => {})
    }
    for (const waiter of this.waiters.splice(0)) waiter()
  }
}
