import { expect } from 'chai'
import { readFileSync } from 'node:fs'
import type { ProcessExit } from '../../../scheduler/local/core/effects.ts'
import type { Agent, PendingOffer } from '../../../scheduler/local/core/state.ts'
import type { Phase } from '../../../scheduler/local/wire/phase.ts'
import type { Attribute, DomainInfo, Resource } from '../../../scheduler/mesos/types.ts'
import { HttpReader, type Answer } from './http-reader.ts'
import { agentOf, holdsWhenQuiet, ports, RawConnection, scalar, startTestMaster, succeedTestMaster, type TestMaster } from './master-harness.ts'

interface Line { t: number, conn: number, dir?: 'request' | 'response' | 'close', bytes?: string, note?: string, by?: string }

export interface ReplayInit {
  /** Resources of each agent, by the number in its rack attribute (`r1`, ...). */
  racks?: number[]
  resourcesOf?: (rack: number) => Resource[]
  /** Besides the rack. */
  attributesOf?: (rack: number) => Attribute[]
  /** Fault domains: of the master, which is rack 0, and of the agents. */
  domainOf?: (rack: number) => DomainInfo
  /** Of agents that are not on 127.0.0.1. */
  machineOf?: (rack: number) => { hostname: string, ip: string }
  /** Replay ends before the first note that begins with this text. */
  until?: string
  /** Answers that are known to differ, by the text of the note before or of the request: the status that is given here. */
  otherStatus?: Record<string, number>
  /** What operators and agents do at a note, other than by HTTP. */
  onNote?: (note: string, replay: Replay) => void | Promise<void>
  /** Pings fail after so long. */
  pingTimeoutMs?: number
  credentials?: Array<{ principal: string, secret: string }>
  /** An agent that returns sends its updates twice at once: ours sends them once. */
  repeatsMayMiss?: boolean
  /** Answers whose body is known to differ, by the text of the note before, or by their type. */
  otherBody?: string[]
  /** Offers that are known to differ, by the text of the note before. */
  otherOffers?: string[]
  /** Tasks that end as they did there, but are told of in another way. */
  otherEnds?: string[]
  /** Errors and refusals whose text is known to differ, by the text of the note before. */
  otherText?: string[]
}

/** What of a message is a matter of chance, of time or of the machine. */
const accidental = new Set(['timestamp', 'unreachable_time', 'uuid', 'container_id', 'executor_pid', 'port', 'pid', 'capabilities', 'id',
  'registered_time', 'reregistered_time', 'unregistered_time', 'start_time', 'elected_time', 'estimated_drain_start_time', 'status_update_uuid'])
/** What may be there or not. */
const absent = new Set(['capabilities', 'build_date', 'build_time'])
const slackMs = 3000
/** Messages of one allocation. */
const togetherSeconds = 0.1

/**
 * Sends the recorded requests of a real master's clients to ours, at the recorded times, with our ids in place of the
 * recorded ones, and compares what comes back: statuses, events and their order, field by field; and after each recorded
 * offer, all that is on offer by then. The agent does what the recorded updates say that it did.
 */
export class Replay {
  private readonly lines: Line[]
  private readonly init: ReplayInit
  private readonly recorded = new Map<number, HttpReader>()
  private readonly actual = new Map<number, RawConnection>()
  /** How far the streams and answers of a connection were compared. */
  private readonly comparedEvents = new Map<number, number>()
  private readonly consumed = new Set<unknown>()
  private readonly comparedAnswers = new Map<number, number>()
  /** Recorded ids and the ids that stand for them here. */
  private readonly ids = new Map<string, string>()
  private onOffer: Array<{ framework: string, agent: string, resources: Resource[], recordedId: string }> = []
  private readonly standIns = new Map<string, string[]>()
  /** Connections whose answer is known to differ. */
  private readonly differing = new Set<number>()
  private readonly lastRequests = new Map<number, string>()
  private readonly comparedUuids = new Set<string>()
  private readonly seenUpdates = new Set<string>()
  /** Tasks that were spawned, or have ended, before an update told so. */
  readonly acted = new Set<string>()
  /** The agents of today, by their rack. */
  readonly agentIds = [0, 1, 2, 3].map((rack) => `agent-${rack}`)
  private readonly offersToStandFor: any[] = []
  private position = 0
  master!: TestMaster
  /** By the port that was recorded, where there are several. */
  readonly masters = new Map<number, TestMaster>()
  private readonly scheduled: Array<{ ms: number, action: () => void | Promise<void> }> = []
  private tornDown = false
  private note = ''

  constructor (name: string, init: ReplayInit = {}) {
    const file = new URL(`../../fixtures/mesos/${name}.jsonl`, import.meta.url)
    this.lines = readFileSync(file, 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line) as Line)
    this.init = init
  }

  async run (): Promise<void> {
    const { racks = [1, 2, 3], resourcesOf = defaultResources, until } = this.init
    const { attributesOf = () => [], domainOf, machineOf, credentials } = this.init
    const agents = racks.map((rack): Agent => ({
      ...agentOf(`agent-${rack}`, resourcesOf(rack), [rackAttribute(rack), ...attributesOf(rack)], machineOf?.(rack)), ...(domainOf !== undefined && { domain: domainOf(rack) })
    }))
    this.master = await startTestMaster(agents, 1, credentials)
    if (domainOf !== undefined) this.master.state.masterInfo.domain = domainOf(0)
    if (this.init.pingTimeoutMs !== undefined) this.master.state.pingTimeoutMs = this.init.pingTimeoutMs
    this.endOrphans()
    try {
      for (const [position, line] of this.lines.entries()) {
        this.position = position
        if (line.note !== undefined) {
          if (until !== undefined && line.note.startsWith(until)) break
          this.note = line.note
          await this.elapse(line.t)
          await this.init.onNote?.(line.note, this)
          continue
        }
        await this.elapse(line.t)
        if (line.dir === 'request') await this.request(line)
        else if (line.dir === 'response') await this.response(line)
        else await this.closed(line)
      }
      this.requireNothingMore()
    } finally {
      for (const connection of this.actual.values()) connection.socket.destroy()
      for (const { shell } of new Set([this.master, ...this.masters.values()])) await shell.close()
    }
  }

  /** Something happens so long after what happens now. */
  later (seconds: number, action: () => void | Promise<void>): void {
    this.scheduled.push({ ms: this.master.clock.now() + seconds * 1000, action })
    this.scheduled.sort((one, other) => one.ms - other.ms)
  }

  /** The next master on the store of the one that was killed, with the same agents, whose processes run on. */
  async succeed (phase: Phase): Promise<void> {
    this.master = await succeedTestMaster(this.master, phase)
  }

  /** No update tells how tasks of a removed framework end. */
  private endOrphans (): void {
    const { agent, clock, state } = this.master
    agent.onKill = (containerId) => {
      const task = [...state.tasks.values()].find((one) => one.containerId === containerId)
      if (task?.orphan === true) clock.setTimer(() => { agent.exited(task.info.task_id.value, { signal: 'SIGTERM' }) }, 50)
    }
  }

  private async elapse (seconds: number): Promise<void> {
    const { clock } = this.master
    const until = async (ms: number): Promise<void> => {
      await holdsWhenQuiet(() => false)
      if (ms > clock.now()) await clock.advance(ms - clock.now())
    }
    while (this.scheduled.length > 0 && this.scheduled[0]!.ms <= seconds * 1000) {
      const { ms, action } = this.scheduled.shift()!
      await until(ms)
      await action()
    }
    await until(seconds * 1000)
  }

  /** Lets the network, then time, go on until the condition holds. */
  private async until (condition: () => boolean, what: () => string): Promise<void> {
    for (let waitedMs = 0; !(await holdsWhenQuiet(condition)); waitedMs += 100) {
      if (waitedMs >= slackMs) throw new Error(`after "${this.note}": ${what()}`)
      await this.master.clock.advance(100)
    }
  }

  private async request ({ conn, bytes = '' }: Line): Promise<void> {
    this.lastRequests.set(conn, bytes)
    const master = this.masters.get(Number(/\r\nHost: [\d.]+:(\d+)/.exec(bytes)?.[1])) ?? this.master
    const connection = this.actual.get(conn) ?? new RawConnection(master.port)
    this.actual.set(conn, connection)
    const body = bytes.slice(bytes.indexOf('{'))
    if (/"type":"(ACCEPT|DECLINE)"/.test(body)) this.takeOffers(body)
    if (/"type":"(TEARDOWN|SUBSCRIBE)"/.test(body)) this.forgetOffers(JSON.parse(body).framework_id?.value)
    this.tornDown = body.includes('"TEARDOWN"')
    connection.send(withLength(this.translate(bytes)))
  }

  /** Ids in offer lists may stand for several of ours, or for none. */
  private translate (bytes: string): string {
    let text = bytes.replace(/"offer_ids":\[[^\]]*\]/, (list) => {
      const ids = [...list.matchAll(/"value":"([^"]*)"/g)].flatMap(([, id]) => this.standIns.get(id!) ?? [id!])
      return `"offer_ids":${JSON.stringify(ids.map((value) => ({ value })))}`
    })
    // The master's id is a part of others.
    const longestFirst = [...this.ids].sort(([one], [other]) => other.length - one.length)
    for (const [recorded, own] of longestFirst) text = text.replaceAll(recorded, own)
    return text
  }

  private requireNothingMore (): void {
    for (const [conn, { events }] of this.actual) {
      // Some streams were closed before the first event was read.
      if ((this.recorded.get(conn)?.events.length ?? 0) === 0) continue
      const more = events.filter((event) => event.type !== 'OFFERS' && event.type !== 'HEARTBEAT' && !this.consumed.has(event))
      expect(this.differing.has(conn) ? [] : more, `events of connection ${conn} that were not recorded`).to.deep.equal([])
    }
  }

  private forgetOffers (framework: string | undefined): void {
    this.onOffer = this.onOffer.filter((offer) => offer.framework !== framework)
  }

  private takeOffers (body: string): void {
    const taken = new Set([...(/"offer_ids":\[[^\]]*\]/.exec(body)?.[0] ?? '').matchAll(/"value":"([^"]*)"/g)].map(([, id]) => id!))
    for (let index = this.onOffer.length - 1; index >= 0; index--) if (taken.has(this.onOffer[index]!.recordedId)) this.onOffer.splice(index, 1)
  }

  private async response ({ conn, bytes = '' }: Line): Promise<void> {
    const recorded = this.recorded.get(conn) ?? new HttpReader()
    this.recorded.set(conn, recorded)
    recorded.push(Buffer.from(bytes))
    await this.compareAnswers(conn, recorded)
    if (this.differing.has(conn)) return
    await this.compareEvents(conn, recorded)
    if (recorded.streamEnded) await this.until(() => this.actual.get(conn)!.streamEnded, () => 'the stream does not end')
  }

  private async compareAnswers (conn: number, recorded: HttpReader): Promise<void> {
    const actual = this.actual.get(conn)!
    for (let index = this.comparedAnswers.get(conn) ?? 0; index < recorded.answers.length; index++) {
      await this.until(() => actual.answers.length > index, () => 'no answer comes')
      this.compareAnswer(conn, recorded.answers[index]!, actual.answers[index]!)
      this.comparedAnswers.set(conn, index + 1)
    }
  }

  private compareAnswer (conn: number, recorded: Answer, actual: Answer): void {
    const other = Object.entries(this.init.otherStatus ?? {}).find(([text]) => this.note.includes(text) || this.lastRequests.get(conn)!.includes(text))
    expect(actual.status, `status after "${this.note}" (${actual.body})`).to.equal(other?.[1] ?? recorded.status)
    if (other !== undefined) {
      this.differing.add(conn)
      return
    }
    for (const name of ['content-type', 'allow', 'location']) expect(actual.headers[name], `${name} after "${this.note}"`).to.equal(recorded.headers[name])
    for (const name of ['mesos-stream-id', 'transfer-encoding']) expect(name in actual.headers, `${name} after "${this.note}"`).to.equal(name in recorded.headers)
    if (recorded.headers['content-type'] === 'application/json' && recorded.body !== '') this.compareBody(recorded.body, actual.body)
    if (recorded.headers['content-type']?.startsWith('text/plain') === true && !this.tellsOtherwise()) expect(actual.body, `text after "${this.note}"`).to.equal(this.translate(recorded.body))
    const streamId = recorded.headers['mesos-stream-id']
    if (streamId !== undefined) this.ids.set(streamId, actual.headers['mesos-stream-id']!)
  }

  private compareBody (recorded: string, actual: string): void {
    const [own, theirs] = [actual, this.translate(recorded)].map((body) => unordered(essence(JSON.parse(body))))
    if (this.init.otherBody?.some((text) => this.note.includes(text) || recorded.includes(`"type":"${text}"`)) === true) return
    expect(differences(own, theirs), `body after "${this.note}"`).to.deep.equal([])
  }

  private tellsOtherwise (): boolean { return this.init.otherText?.some((text) => this.note.includes(text)) === true }

  private async compareEvents (conn: number, recorded: HttpReader): Promise<void> {
    const actual = this.actual.get(conn)!
    const events = recorded.events.slice(this.comparedEvents.get(conn) ?? 0)
    this.comparedEvents.set(conn, recorded.events.length)
    for (const [index, event] of events.entries()) {
      if (event.type === 'HEARTBEAT') continue
      if (event.type === 'OFFERS') await this.compareOffers(conn, event.offers.offers, events.slice(index + 1).some(({ type }) => type === 'OFFERS'))
      else if (event.type === 'RESCIND') await this.compareRescind(actual, event.rescind.offer_id.value)
      else await this.compareEvent(actual, event)
    }
  }

  /** All that stood for the recorded offer is rescinded. */
  private async compareRescind (actual: RawConnection, recordedId: string): Promise<void> {
    const own = this.standIns.get(recordedId) ?? []
    const rescinded = (): any[] => actual.events.filter((event) => event.type === 'RESCIND' && own.includes(event.rescind.offer_id.value))
    await this.until(() => rescinded().length === own.length, () => `${recordedId} is not rescinded`)
    for (const event of rescinded()) this.consumed.add(event)
    this.onOffer = this.onOffer.filter((offer) => offer.recordedId !== recordedId)
  }

  private async compareEvent (actual: RawConnection, recorded: any): Promise<void> {
    await this.letAgentAct(recorded)
    const repeated = recorded.update?.status.uuid !== undefined && this.comparedUuids.has(recorded.update.status.uuid)
    if (this.init.repeatsMayMiss === true && repeated && this.nextEvent(actual, recorded)?.update?.status.uuid !== this.ids.get(recorded.update.status.uuid)) return
    if (recorded.update?.status.uuid !== undefined) this.comparedUuids.add(recorded.update.status.uuid)
    await this.until(() => this.nextEvent(actual, recorded) !== undefined, () => `no event comes, but was recorded: ${JSON.stringify(recorded)}`)
    const own = this.nextEvent(actual, recorded)
    this.consumed.add(own)
    if (recorded.subscribed?.framework_id !== undefined) this.learn(recorded.subscribed.framework_id.value, own.subscribed?.framework_id.value, recorded.subscribed.master_info.id)
    this.learnUuid(recorded, own)
    if (this.endsOtherwise(recorded)) {
      expect(own.update.status.state).to.equal(recorded.update.status.state)
      return
    }
    if (this.tellsOtherwise() && own.error !== undefined) own.error.message = recorded.error.message
    const theirs = essence(JSON.parse(this.translate(JSON.stringify(recorded))))
    if (recorded.subscribed?.get_state !== undefined) expect(differences(unordered(essence(own)), unordered(theirs)), `after "${this.note}"`).to.deep.equal([])
    else expect(essence(own), `after "${this.note}"`).to.deep.equal(theirs)
  }

  /** The next one; of answers to a reconciliation, which come in any order, the one about the same task or operation. */
  private nextEvent (actual: RawConnection, recorded: any): any {
    const left = actual.events.filter((event) => event.type !== 'OFFERS' && event.type !== 'HEARTBEAT' && !this.consumed.has(event))
    if (this.endsOtherwise(recorded)) return left.find(({ update }) => update?.status.task_id.value === recorded.update.status.task_id.value)
    return isUnordered(recorded) ? left.find((event) => event.type === recorded.type && subjectOf(event) === subjectOf(recorded)) : left[0]
  }

  private learn (recorded: string, own: string | undefined, recordedMaster: string): void {
    if (own === undefined) return
    this.ids.set(recorded, own)
    this.ids.set(recordedMaster, this.master.state.masterId)
  }

  private learnUuid (recorded: any, own: any): void {
    const [theirs, ours] = [recorded, own].map((event) => event.update?.status.uuid ?? event.update_operation_status?.status.uuid?.value)
    if (theirs !== undefined && ours !== undefined) this.ids.set(theirs, ours)
  }

  /** The first time that an update of an executor was recorded, its process did what the update tells. */
  private async letAgentAct ({ update }: any): Promise<void> {
    const status = update?.status
    if (status?.uuid === undefined || this.seenUpdates.has(status.uuid)) return
    this.seenUpdates.add(status.uuid)
    const { agent } = this.master
    const id: string = status.task_id.value
    if (status.state === 'TASK_STARTING') {
      if (this.acted.delete(`${id} spawned`)) return
      await this.until(() => agent.orders.has(id), () => `${id} is not launched`)
      agent.spawned(id)
    } else if (status.reason === 'REASON_TASK_HEALTH_CHECK_STATUS_UPDATED') {
      agent.health(id, status.healthy, this.nextStateOf(id) === 'TASK_KILLING')
    } else if (status.reason === 'REASON_TASK_CHECK_STATUS_UPDATED') {
      agent.checked(id, status.check_status)
    } else if (this.endsOtherwise({ update })) {
      agent.exited(id, { signal: 'SIGKILL' })
    } else if (status.reason === 'REASON_EXECUTOR_TERMINATED') {
      if (!this.acted.delete(`${id} ended`)) agent.exited(id, 'unknown')
    } else if (status.source === 'SOURCE_AGENT') {
      await this.until(() => agent.orders.has(id), () => `${id} is not launched`)
      agent.launchFailed(id, this.translate(status.message.replace('Failed to launch container: ', '')))
    } else if (status.message !== undefined && !this.acted.delete(`${id} ended`)) {
      const { containerId } = agent.orders.get(id)!
      if (status.reason === 'REASON_MAX_COMPLETION_TIME_REACHED') await this.until(() => agent.killed.includes(containerId), () => `${id} is not killed`)
      agent.exited(id, exitOf(status.message))
    }
  }

  private endsOtherwise ({ update }: any): boolean {
    return update?.status.message !== undefined && this.init.otherEnds?.includes(update.status.task_id.value) === true
  }

  private nextStateOf (taskId: string): string | undefined {
    for (const { bytes = '' } of this.lines.slice(this.position + 1)) {
      const found = new RegExp(`"UPDATE","update":\\{"status":\\{"task_id":\\{"value":"${taskId}"\\},"state":"(\\w+)"`).exec(bytes)
      if (found !== null) return found[1]
    }
    return undefined
  }

  private async compareOffers (conn: number, offers: any[], more: boolean): Promise<void> {
    // These crossed the TEARDOWN.
    if (this.tornDown) return
    for (const offer of offers) {
      const rack = this.rackOf(offer.attributes)
      this.ids.set(offer.agent_id.value, rack)
      this.onOffer.push({ framework: offer.framework_id.value, agent: rack, resources: offer.resources, recordedId: offer.id.value })
    }
    if (this.init.otherOffers?.some((text) => this.note.includes(text)) === true) return
    const framework: string = offers[0].framework_id.value
    // What came in several messages there may come in one here.
    this.offersToStandFor.push(...offers)
    if (more || this.moreOffersFollow(conn)) return
    const expected = (): string[] => this.sumOf(this.onOffer.filter((offer) => offer.framework === framework))
    const own = (): string[] => this.sumOf(this.ownOffers(framework).map(({ agentId, resources }) => ({ agent: agentId, resources: [...resources] })))
    await this.until(() => own().join() === expected().join(), () => `offered are\n${own().join('\n')}\nbut recorded was\n${expected().join('\n')}`)
    for (const offer of this.offersToStandFor.splice(0)) this.standFor(framework, offer.id.value, this.rackOf(offer.attributes))
    const all = this.actual.get(conn)!.events.flatMap((event) => event.type === 'OFFERS' ? event.offers.offers : [])
    for (const offer of offers) {
      const own = all.findLast(({ agent_id: { value } }) => value === this.ids.get(offer.agent_id.value))
      expect(circumstances(own), `an offer after "${this.note}"`).to.deep.equal(circumstances(JSON.parse(this.translate(JSON.stringify(offer)))))
    }
  }

  private moreOffersFollow (conn: number): boolean {
    const index = this.position
    const { t } = this.lines[index]!
    return this.lines.slice(index + 1, index + 6).some((line) => line.conn === conn && line.t - t < togetherSeconds && line.bytes?.includes('"type":"OFFERS"') === true)
  }

  /** What was offered as one there may have come in several parts here, and the other way round. */
  private standFor (framework: string, recordedId: string, agentId: string): void {
    const claimed = new Set([...this.standIns.values()].flat())
    const own = this.ownOffers(framework).filter((offer) => offer.agentId === agentId && !claimed.has(offer.id)).map(({ id }) => id)
    this.standIns.set(recordedId, own)
  }

  private ownOffers (framework: string): PendingOffer[] {
    return [...this.master.state.offers.values()].filter(({ frameworkId }) => frameworkId === this.ids.get(framework))
  }

  private rackOf (attributes: Attribute[]): string { return this.agentIds[Number(attributes[0]!.text!.value.slice(1))]! }

  private sumOf (offers: Array<{ agent: string, resources: Resource[] }>): string[] {
    const sums = new Map<string, number>()
    for (const { agent, resources } of offers) {
      for (const resource of resources) {
        const reservations = (resource.reservations ?? []).map(({ type, role, principal, labels }) => [type, role, principal, labels])
        const legacy = resource as { reservation?: unknown, role?: string }
        const stack = legacy.role === undefined || legacy.role === '*' ? reservations : [[legacy.reservation === undefined ? 'STATIC' : 'DYNAMIC', legacy.role, null, null]]
        const ranges = resource.ranges?.range.map(({ begin, end }) => `${begin}-${end}`) ?? []
        const key = `${agent} ${resource.name} ${JSON.stringify(stack)} ${JSON.stringify(resource.disk ?? {})} ${ranges.join()}`
        sums.set(key, (sums.get(key) ?? 0) + (resource.scalar?.value ?? 0))
      }
    }
    return [...sums].map(([key, value]) => `${key}${Math.round(value * 1000) / 1000}`).sort()
  }

  private async closed ({ conn, by }: Line): Promise<void> {
    const connection = this.actual.get(conn)
    if (by === 'client') connection?.socket.destroy()
    else if (connection !== undefined) await this.until(() => connection.closed, () => 'the connection is not closed')
  }
}

/** All of an offer but what is offered: that is compared as a sum. */
function circumstances ({ resources: _, ...offer }: any): unknown { return essence(offer) }

/** The master answers, and tells of the tasks of an agent, in any order; what an agent tells of several tasks comes in any order, too. */
function isUnordered ({ update, update_operation_status: operation }: any): boolean {
  return update !== undefined || (operation !== undefined && operation.status.uuid === undefined)
}

function subjectOf ({ update, update_operation_status: operation }: any): string | undefined {
  return update !== undefined ? `${update.status.task_id.value} ${update.status.source}` : operation?.status.operation_id.value 
}

function defaultResources (rack: number): Resource[] {
  return [scalar('cpus', 4), scalar('mem', 4096), scalar('disk', 20000), ports(31000 + rack * 100, 31099 + rack * 100)]
}

function rackAttribute (rack: number): Attribute { return { name: 'rack', type: 'TEXT', text: { value: `r${rack}` } } }

function exitOf (message: string): ProcessExit {
  const status = /exited with status (\d+)/.exec(message)
  if (status !== null) return { status: Number(status[1]) }
  return { signal: message.endsWith('Killed') ? 'SIGKILL' : 'SIGTERM' }
}

/** Requests with a body may be longer or shorter with our ids in it. */
function withLength (bytes: string): string {
  const body = bytes.indexOf('\r\n\r\n') + 4
  // Several requests in one, or chunked: their ids have no part in a length.
  if (/\r\n\r\n.*POST /s.test(bytes) || /Transfer-Encoding/i.test(bytes.slice(0, body))) return bytes
  return bytes.slice(0, body).replace(/Content-Length: \d+/i, `Content-Length: ${Buffer.byteLength(bytes.slice(body))}`) + bytes.slice(body)
}

/** Whether the containerizer knows the process of a container within another one is a matter of chance. */
const isNestedPid = (name: string, { container_id: id }: any): boolean => name === 'executor_pid' && id?.parent !== undefined

/** Where two values differ, each place in one line. */
function differences (own: any, theirs: any, path = ''): string[] {
  if (typeof own !== 'object' || typeof theirs !== 'object' || own === null || theirs === null || Array.isArray(own) !== Array.isArray(theirs)) {
    return own === theirs ? [] : [`${path}: ${JSON.stringify(own)}, not ${JSON.stringify(theirs)}`]
  }
  return [...new Set([...Object.keys(own), ...Object.keys(theirs)])].flatMap((name) => differences(own[name], theirs[name], `${path}.${name}`))
}

/** Lists of an answer to an operator come in any order. */
function unordered (value: any): any {
  if (Array.isArray(value)) return value.map((item) => unordered(item)).sort((one, other) => JSON.stringify(one) < JSON.stringify(other) ? -1 : 1)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.keys(value).sort().map((name) => [name, unordered(value[name])]))
}

/** Without accidents, and with texts that list resources in a fixed order. */
function essence (value: any, key = ''): any {
  if (Array.isArray(value)) return value.map((item) => essence(item))
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([name]) => !absent.has(name) && !isNestedPid(name, value))
    return Object.fromEntries(entries.map(([name, field]) => [name, accidental.has(name) ? typeof field : essence(field, name)]))
  }
  if (key !== 'message' || typeof value !== 'string') return value
  const parts = value.replace(/; on agent .*$/, '').split(/(^Total resources | does not contain | required by task(?: group)? and its executor (?:is|are) more than available )/)
  return parts.map((part) => part.split('; ').sort().join('; ')).join('')
}
