/**
 * Reads JSON as Mesos reads it into its protobuf messages: unknown fields and unknown values of optional
 * enums are ignored, numbers may come as strings, a wrong type or a missing required field is an error.
 */
export class DecodeError extends Error {}

interface Reading { missing: string[] }

/** `undefined` means: as if the field were not there. */
export type Decoder<T = unknown> = (value: unknown, path: string, reading: Reading) => T | undefined

interface Field { decoder: Decoder, required: boolean, initial?: () => unknown }

/** Throws DecodeError with a text for people. */
export function decode<T> (decoder: Decoder<T>, value: unknown): T {
  const reading: Reading = { missing: [] }
  const decoded = decoder(value, '', reading)
  if (decoded === undefined) throw new DecodeError('Expecting a JSON object')
  if (reading.missing.length > 0) throw new DecodeError(`Missing required fields: ${reading.missing.join(', ')}`)
  return decoded
}

export function required (decoder: Decoder): Field { return { decoder, required: true } }
export function optional (decoder: Decoder): Field { return { decoder, required: false } }
export function repeated (decoder: Decoder): Field { return { decoder: listOf(decoder), required: false } }
/** Repeated, and an empty list when absent. */
export function list (decoder: Decoder): Field { return { decoder: listOf(decoder), required: false, initial: () => [] } }

export function message (fields: Record<string, Field>): Decoder<Record<string, unknown>> {
  const entries = Object.entries(fields)
  return (value, path, reading) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new DecodeError(path === '' ? 'Expecting a JSON object' : `Expecting a JSON object for field '${path}'`)
    }
    const decoded: Record<string, unknown> = {}
    for (const [name, field] of entries) {
      const given = Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined
      const at = path === '' ? name : `${path}.${name}`
      const result = given === undefined || given === null ? undefined : field.decoder(given, at, reading)
      if (result !== undefined) decoded[name] = result
      else if (field.required) reading.missing.push(at)
      else if (field.initial !== undefined) decoded[name] = field.initial()
    }
    return decoded
  }
}

export const string: Decoder<string> = (value, path) => {
  if (typeof value !== 'string') throw new DecodeError(`Expecting a JSON string for field '${path}'`)
  return value
}

export const boolean: Decoder<boolean> = (value, path) => {
  if (typeof value !== 'boolean') throw new DecodeError(`Expecting a JSON boolean for field '${path}'`)
  return value
}

export const number: Decoder<number> = (value, path) => {
  if (typeof value === 'number') return value
  if (typeof value !== 'string') throw new DecodeError(`Expecting a JSON number for field '${path}'`)
  const parsed = value.trim() === '' ? NaN : Number(value)
  if (Number.isNaN(parsed)) throw new DecodeError(`Failed to parse '${value}' as a JSON number for field '${path}'`)
  return parsed
}

/** Amounts: what no resource can be is refused here, so that arithmetic is safe. */
export const amount: Decoder<number> = (value, path, reading) => {
  const given = number(value, path, reading)!
  if (!Number.isFinite(given) || given < 0 || given > 1e12) throw new DecodeError(`Invalid amount ${given} for field '${path}'`)
  return given
}

export const integer: Decoder<number> = (value, path, reading) => Math.trunc(number(value, path, reading)!)

/** Stays base64; what does not decode is refused. */
export const bytes: Decoder<string> = (value, path, reading) => {
  const text = string(value, path, reading)!
  const wrong = /[^A-Za-z0-9+/=_-]/.exec(text)
  if (wrong !== null) throw new DecodeError(`Failed to base64 decode bytes field '${path}': Invalid character '${wrong[0]}'`)
  return text
}

/** Unknown names read as unset. */
export function enumeration (...names: string[]): Decoder<string> {
  const known = new Set(names)
  return (value, path) => {
    if (typeof value !== 'string') throw new DecodeError(`Expecting a JSON string for field '${path}'`)
    return known.has(value) ? value : undefined
  }
}

const depthMax = 64

/** Taken over as it is: nobody here looks inside. */
export const anything: Decoder = (value, path) => {
  let level = [value]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > depthMax) throw new DecodeError(`Nested too deeply: field '${path}'`)
    level = level.flatMap((item) => typeof item === 'object' && item !== null ? Object.values(item) : [])
  }
  return value
}

function listOf (decoder: Decoder): Decoder<unknown[]> {
  return (value, path, reading) => {
    if (!Array.isArray(value)) throw new DecodeError(`Expecting a JSON array for field '${path}'`)
    return value.map((item, index) => decoder(item, `${path}[${index}]`, reading)).filter((item) => item !== undefined)
  }
}
