import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { Clock } from '../../fsnode/protocol/ports.ts'
import { authorization } from './client.ts'
import type { MasterCredentials } from './client.ts'
import { operatorAnswerMaxBytes, operatorTimeoutMs } from './constants.ts'
import type { HttpPost } from './http.ts'
import type { Resource } from './types.ts'

export interface AgentListing { agents: Array<{ agentId: string, hostname: string, resources: Resource[] }> }

/** Of the scheduler API: the operator API of the same master. */
export const operatorUrl = (schedulerUrl: string): string => schedulerUrl.replace(/\/scheduler$/, '')

/** Asks a master's operator API. Rejects with ATOLL_MESOS_..., as the scheduler API does, or ATOLL_TIMEOUT. */
export function askMaster ({ clock, post }: { clock: Clock, post: HttpPost }, url: string, call: { type: string }, credentials?: MasterCredentials): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let length = 0
    let status = 0
    const finish = (error?: AtollError): void => {
      timer.cancel()
      request.close()
      if (error !== undefined) reject(error)
      else resolve(JSON.parse(Buffer.concat(chunks).toString()))
    }
    const request = post(url, { 'Content-Type': 'application/json', Accept: 'application/json', ...authorization(credentials) }, JSON.stringify(call), {
      onResponse: (response) => { status = response.status },
      onData: (chunk) => {
        length += chunk.length
        chunks.push(chunk)
        if (length > operatorAnswerMaxBytes) finish(new AtollError('ATOLL_BAD_MESSAGE', `the answer to ${call.type} is longer than ${operatorAnswerMaxBytes} bytes`))
      },
      onEnd: (code, message) => {
        try {
          finish(status === 200 ? undefined : new AtollError(status === 0 ? code : 'ATOLL_MESOS_REFUSED', status === 0 ? message : `${call.type} was answered ${status}`))
        } catch {
          reject(new AtollError('ATOLL_BAD_MESSAGE', `the answer to ${call.type} is not JSON`))
        }
      }
    })
    const timer = clock.setTimer(() => { finish(new AtollError('ATOLL_TIMEOUT', `no answer to ${call.type} within ${operatorTimeoutMs} ms`)) }, operatorTimeoutMs)
  })
}

/** What each agent that the master can reach has, from an answer to GET_AGENTS. Throws ATOLL_BAD_MESSAGE. */
export function readAgents (answer: unknown): AgentListing {
  const agents = (answer as { get_agents?: { agents?: Array<{ agent_info?: { id?: { value?: string }, hostname?: string }, total_resources?: Resource[] }> } }).get_agents
  if (typeof agents !== 'object') throw new AtollError('ATOLL_BAD_MESSAGE', 'the answer to GET_AGENTS lists no agents')
  return { agents: (agents.agents ?? []).map(({ agent_info: info, total_resources: resources = [] }) =>
    ({ agentId: info?.id?.value ?? '', hostname: info?.hostname ?? '', resources })) }
}
