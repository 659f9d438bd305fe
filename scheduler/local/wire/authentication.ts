import { timingSafeEqual } from 'node:crypto'
import type { Refusal } from './http-contract.ts'

export interface Credential { principal: string, secret: string }

/** Names of what is protected, as Mesos has them. */
export type Realm = 'mesos-master-scheduler' | 'mesos-master-readwrite' | 'mesos-master-readonly'

/** Whom a request comes from. Without credentials anybody may ask, and nobody is known. */
export function authenticate (credentials: Credential[] | undefined, header: string | undefined, realm: Realm): { principal?: string } | { refusal: Refusal } {
  if (credentials === undefined) return {}
  const given = /^Basic ([A-Za-z0-9+/=]+)$/.exec(header ?? '')?.[1]
  const found = given === undefined ? undefined : credentials.find(({ principal, secret }) => isSame(given, Buffer.from(`${principal}:${secret}`).toString('base64')))
  if (found !== undefined) return { principal: found.principal }
  return { refusal: { status: 401, text: '401 Unauthorized.', headers: { 'www-authenticate': `Basic realm="${realm}"` } } }
}

function isSame (one: string, other: string): boolean {
  return one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other))
}

/** Why somebody may not speak for a framework with this principal. */
export function principalProblem (authenticated: string | undefined, principal: string | undefined): string | undefined {
  if (authenticated === undefined || principal === undefined || authenticated === principal) return undefined
  return `Authenticated principal '${authenticated}' does not match principal '${principal}' set in \`FrameworkInfo\``
}
