import { AtollError } from '../../fsnode/protocol/errors.ts'
import { schedulerPath } from './constants.ts'
import type { MasterInfo } from './types.ts'

const portDefault = 5050

/**
 * The URL of a master's scheduler API, from 'host', 'host:port', 'http://host:port' or a URL that ends with the path itself.
 * Throws ATOLL_INVALID_MASTER.
 */
export function masterUrl (text: string): string {
  const url = parse(text)
  if (url === undefined) {
    throw new AtollError('ATOLL_INVALID_MASTER', `not the address of a Mesos master: '${text}'`, {
      hint: 'Give host:port, http://host:port, or zk://host:port,.../path.'
    })
  }
  return url
}

/** Where a 307 leads: a location with a scheme, '//host:port/path' (what Mesos sends) or a bare 'host:port'; `undefined` if it is none. */
export function redirectUrl (location: string | undefined, from: string): string | undefined {
  if (location === undefined || location === '') return undefined
  if (location.startsWith('//')) return parse(new URL(from).protocol + location)
  if (location.startsWith('/')) return parse(new URL(location, from).href)
  return parse(location)
}

/** Of a leader as ZooKeeper names it. Throws ATOLL_INVALID_MASTER. */
export function masterInfoUrl ({ address, hostname, port }: MasterInfo, scheme: 'http' | 'https'): string {
  const host = address?.hostname ?? hostname ?? address?.ip ?? ''
  return masterUrl(`${scheme}://${host.includes(':') ? `[${host}]` : host}:${address?.port ?? port ?? portDefault}`)
}

function parse (text: string): string | undefined {
  const withScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`
  if (!URL.canParse(withScheme)) return undefined
  const url = new URL(withScheme)
  if (!['http:', 'https:'].includes(url.protocol) || url.hostname === '') return undefined
  // A user and password here would travel on in logs and in the status: they have options of their own.
  if (url.username !== '' || url.password !== '') return undefined
  const portGiven = /^[^/]*\/\/[^/]*:\d+(\/|$)/.test(withScheme)
  if (!portGiven && url.protocol === 'http:') url.port = String(portDefault)
  const path = url.pathname.replace(/\/+$/, '')
  return `${url.origin}${path.endsWith(schedulerPath) ? path : schedulerPath}`
}
