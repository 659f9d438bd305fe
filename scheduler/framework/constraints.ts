import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { Attribute } from '../mesos/types.ts'
import type { AgentOffer } from './agent-offer.ts'

export type ConstraintOperator = 'is' | 'is not' | 'matches' | 'does not match' | 'at most' | 'exists'

/** Where nodes may go: of an attribute, or of 'hostname', 'region', 'zone'. */
export interface Constraint {
  /** As it was written. */
  text: string
  name: string
  operator: ConstraintOperator
  /** Of 'is' and 'is not'. */
  values: string[]
  /** Of the other operators. */
  value: string
}

const pattern = /^([A-Za-z0-9_.\-/]+)(?:(<=|!=|!~|=|~)(.+))?$/
const operators: Record<string, ConstraintOperator> = { '=': 'is', '!=': 'is not', '~': 'matches', '!~': 'does not match', '<=': 'at most' }
const patternLengthMax = 256

/**
 * `NAME=A|B`, `NAME!=A|B`, `NAME~REGEX`, `NAME!~REGEX` (the whole value), `NAME<=N` (at most N nodes for each value), `NAME` (has it).
 * Throws ATOLL_INVALID.
 */
export function parseConstraint (text: string): Constraint {
  const invalid = (why: string): AtollError => new AtollError('ATOLL_INVALID', `constraint '${text}': ${why}`, {
    hint: 'NAME=A|B, NAME!=A|B, NAME~REGEX, NAME!~REGEX, NAME<=COUNT or NAME; NAME is an attribute of agents, hostname, region or zone.'
  })
  const match = pattern.exec(text)
  if (match === null) throw invalid('cannot be understood')
  const [, name = '', sign, value = ''] = match
  const operator = sign === undefined ? 'exists' : operators[sign]!
  if (operator === 'at most' && !/^[1-9]\d{0,3}$/.test(value)) throw invalid('a whole number is needed')
  if (operator === 'matches' || operator === 'does not match') {
    if (value.length > patternLengthMax) throw invalid(`longer than ${patternLengthMax} characters`)
    try {
      new RegExp(`^(?:${value})$`)
    } catch (error) {
      throw invalid((error as Error).message)
    }
  }
  return { text, name, operator, values: operator === 'is' || operator === 'is not' ? value.split('|') : [], value }
}

/** The values that an agent has under a name, as text; ranges as 'begin-end'. */
export function valuesOf (offer: Pick<AgentOffer, 'hostname' | 'domain' | 'attributes'>, name: string): string[] {
  switch (name) {
    case 'hostname': return [offer.hostname]
    case 'region': return [offer.domain[0]!]
    case 'zone': return [offer.domain[1]!]
    default: return offer.attributes.filter((attribute) => attribute.name === name).flatMap(attributeValues)
  }
}

function attributeValues ({ type, text, scalar, ranges, set }: Attribute): string[] {
  switch (type) {
    case 'TEXT': return text === undefined ? [] : [text.value]
    case 'SCALAR': return scalar === undefined ? [] : [String(scalar.value)]
    case 'SET': return set?.item ?? []
    case 'RANGES': return (ranges?.range ?? []).map(({ begin, end }) => `${begin}-${end}`)
    default: return []
  }
}

/** `counts`: how many nodes there are already for each value of the constraint's name. */
export function checkConstraint (constraint: Constraint, offer: AgentOffer, counts: ReadonlyMap<string, number>): { pass: boolean, reason: string } {
  const { name, operator, value, values } = constraint
  const found = valuesOf(offer, name)
  const shown = found.length === 0 ? `the agent has no ${name}` : `${name} is ${found.join(', ')}`
  switch (operator) {
    case 'exists': return { pass: found.length > 0, reason: shown }
    case 'is': return { pass: found.some((each) => values.some((one) => isValue(each, one))), reason: `wants ${values.join(' or ')}; ${shown}` }
    case 'is not': return { pass: !found.some((each) => values.some((one) => isValue(each, one))), reason: `wants none of ${values.join(', ')}; ${shown}` }
    case 'matches':
    case 'does not match': {
      const matches = found.some((each) => new RegExp(`^(?:${value})$`).test(each))
      return { pass: matches === (operator === 'matches'), reason: `wants ${operator === 'matches' ? 'a match' : 'no match'} of ${value}; ${shown}` }
    }
    case 'at most': {
      // An agent without the attribute is in no group that could be full.
      const fullest = found.map((each) => ({ each, count: counts.get(each) ?? 0 })).find(({ count }) => count >= Number(value))
      return { pass: fullest === undefined, reason: fullest === undefined ? `at most ${value} for each ${name}; ${shown}` : `at most ${value} for each ${name}, ${fullest.each} has ${fullest.count}` }
    }
  }
}

/** Whether a value is the wanted one: numbers by their worth, and a number within a range. */
function isValue (found: string, wanted: string): boolean {
  if (found === wanted) return true
  const number = Number(wanted)
  if (wanted.trim() === '' || Number.isNaN(number)) return false
  if (Number(found) === number) return true
  const range = /^(\d+)-(\d+)$/.exec(found)
  return range !== null && number >= Number(range[1]) && number <= Number(range[2])
}
