import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { MasterCredentials } from './client.ts'

/**
 * What a file of credentials holds: the secret alone, 'principal secret' as in Mesos's own files, or JSON with both.
 * Throws ATOLL_INVALID.
 */
export function parseCredentials (text: string, principal: string): MasterCredentials {
  const found = fromJson(text) ?? fromWords(text.trim().split(/\s+/), principal)
  if (found.principal !== principal) {
    throw new AtollError('ATOLL_INVALID', `the secret belongs to the principal '${found.principal}', not to '${principal}'`, { hint: `--principal ${found.principal}` })
  }
  return found
}

const invalid = (): AtollError => new AtollError('ATOLL_INVALID', 'the file holds no secret', {
  hint: 'It may hold the secret alone, "principal secret", or {"principal": "...", "secret": "..."}.'
})

function fromJson (text: string): MasterCredentials | undefined {
  let json: { principal?: unknown, secret?: unknown }
  try {
    json = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof json !== 'object' || json === null) return undefined
  const { principal, secret } = json
  if (typeof principal !== 'string' || typeof secret !== 'string' || secret === '') throw invalid()
  return { principal, secret }
}

function fromWords (words: string[], principal: string): MasterCredentials {
  const [first, second, more] = words
  if (first === undefined || first === '' || more !== undefined) throw invalid()
  return second === undefined ? { principal, secret: first } : { principal: first, secret: second }
}
