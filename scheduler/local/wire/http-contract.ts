import type { OperatorCall } from './operator-calls.ts'
import { operatorCall, operatorCallProblem } from './operator-calls.ts'
import { call, callProblem, type SchedulerCall } from './scheduler-calls.ts'
import { decode, DecodeError, type Decoder } from './schema.ts'

export interface HttpRequest {
  method: string
  /** Names in lower case. */
  headers: Record<string, string | string[] | undefined>
  body: string
}

export interface Refusal { status: number, text: string, headers?: Record<string, string> }
export type Read<T> = { refusal: Refusal } | { call: T, streamId?: string }

const json = 'application/json'
const callsWithAnswers = new Set(['SUBSCRIBE', 'RECONCILE_OPERATIONS'])

/** The checks that need no state, in Mesos's order. Only JSON is spoken here. */
export function readSchedulerRequest (request: HttpRequest): Read<SchedulerCall> {
  const read = readCall(request, call, callProblem, 'scheduler::Call')
  if ('refusal' in read) return read
  const { type } = read.call
  if (callsWithAnswers.has(type) && !accepts(request, json)) {
    return refuse(406, "Expecting 'Accept' to allow 'application/json'")
  }
  const streamId = headerOf(request, 'mesos-stream-id')
  if (type === 'SUBSCRIBE' && streamId !== undefined) return refuse(400, "Subscribe calls should not include the 'Mesos-Stream-Id' header")
  return { call: read.call as SchedulerCall, ...(streamId !== undefined && { streamId }) }
}

export function readOperatorRequest (request: HttpRequest): Read<OperatorCall> {
  const read = readCall(request, operatorCall, operatorCallProblem, 'master::Call')
  if ('refusal' in read) return read
  if (!accepts(request, json)) return refuse(406, "Expecting 'Accept' to allow 'application/json'")
  return { call: read.call as OperatorCall }
}

export function methodRefusal (method: string, allowed: string): Refusal {
  return { status: 405, text: `405 Method Not Allowed. Expecting one of { '${allowed}' }, but received '${method}'.`, headers: { allow: allowed } }
}

function readCall (request: HttpRequest, decoder: Decoder<Record<string, any>>, problemOf: (call: Record<string, any>) => string | undefined, name: string): { refusal: Refusal } | { call: Record<string, any> } {
  if (request.method !== 'POST') return { refusal: methodRefusal(request.method, 'POST') }
  const contentType = headerOf(request, 'content-type')
  if (contentType === undefined) return refuse(400, "Expecting 'Content-Type' to be present")
  // Mesos compares the whole value: `application/json; charset=utf-8` is refused too.
  if (contentType !== json) return refuse(415, `Expecting 'Content-Type' of ${json}`)
  let decoded: Record<string, any>
  try {
    decoded = decode(decoder, JSON.parse(request.body))
  } catch (error) {
    if (error instanceof DecodeError) return refuse(400, `Failed to convert JSON into Call protobuf: ${error.message}`)
    return refuse(400, `Failed to parse body into JSON: ${(error as Error).message}`)
  }
  const problem = problemOf(decoded)
  return problem === undefined ? { call: decoded } : refuse(400, `Failed to validate ${name}: ${problem}`)
}

function refuse (status: number, text: string): { refusal: Refusal } { return { refusal: { status, text } } }

function headerOf ({ headers }: HttpRequest, name: string): string | undefined {
  const value = headers[name]
  return Array.isArray(value) ? value[0] : value
}

function accepts (request: HttpRequest, type: string): boolean {
  const header = headerOf(request, 'accept')
  if (header === undefined) return true
  return header.split(',').some((part) => {
    const [range = '', ...parameters] = part.split(';').map((word) => word.trim().toLowerCase())
    const refused = parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter))
    return !refused && (range === type || range === '*/*' || range === 'application/*')
  })
}
