import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'

/** Arguments are checked as node:fs/promises checks them, and refused with the same codes. */

const uint32Max = 2 ** 32 - 1

export function invalidType (name: string, expected: string, value: unknown): TypeError {
  return coded(new TypeError(`The "${name}" argument must be ${expected}. Received ${inspect(value)}`), 'ERR_INVALID_ARG_TYPE')
}

export function invalidValue (name: string, value: unknown, why = 'is invalid'): TypeError {
  return coded(new TypeError(`The argument '${name}' ${why}. Received ${inspect(value)}`), 'ERR_INVALID_ARG_VALUE')
}

export function outOfRange (name: string, range: string, value: unknown): RangeError {
  return coded(new RangeError(`The value of "${name}" is out of range. It must be ${range}. Received ${inspect(value)}`), 'ERR_OUT_OF_RANGE')
}

export function coded<E extends Error> (error: E, code: string): E & { code: string } {
  return Object.assign(error, { code })
}

/** A path as text. Names in a volume are UTF-8: what is not could not be found again. */
export function pathText (path: unknown, name = 'path'): string {
  if (path instanceof URL) path = fileURLToPath(path)
  if (typeof path !== 'string' && !(path instanceof Uint8Array)) throw invalidType(name, 'of type string or an instance of Buffer or URL', path)
  const text = typeof path === 'string' ? path.toWellFormed() : decoded(path, name)
  if (text.includes('\0')) throw invalidValue(name, path, 'must be a string, Uint8Array, or URL without null bytes')
  return text
}

export function integer (value: unknown, name: string, min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== 'number') throw invalidType(name, 'of type number', value)
  if (!Number.isInteger(value)) throw outOfRange(name, 'an integer', value)
  if (value < min || value > max) throw outOfRange(name, `>= ${min} && <= ${max}`, value)
  return value
}

export function boolean (value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw invalidType(name, 'of type boolean', value)
  return value
}

/** @param unchanged What -1 stands for. */
export function owner (value: unknown, name: string): number | undefined {
  const id = integer(value, name, -1, uint32Max)
  return id === -1 ? undefined : id
}

/** A number, or a string of octal digits. */
export function modeBits (value: unknown, fallback?: number): number {
  const given = value ?? fallback
  if (typeof given !== 'string') return integer(given, 'mode', 0, uint32Max)
  if (!/^[0-7]+$/.test(given)) throw invalidValue('mode', value, 'must be a 32-bit unsigned integer or an octal string')
  return parseInt(given, 8)
}

export interface CommonOptions { encoding?: string | null, signal?: AbortSignal }

/** Options where a string stands for an encoding. */
export function optionsOf<T extends CommonOptions> (options: T | string | null | undefined): T {
  if (options === null || options === undefined) return {} as T
  const given = typeof options === 'string' ? { encoding: options } as T : options
  if (typeof given !== 'object') throw invalidType('options', 'of type string or an instance of Object', options)
  const { encoding, signal } = given
  if (encoding && encoding !== 'buffer' && !Buffer.isEncoding(encoding)) throw invalidValue('encoding', encoding, 'is invalid encoding')
  if (signal !== undefined && (signal === null || typeof signal !== 'object' || !('aborted' in signal))) throw invalidType('options.signal', 'an instance of AbortSignal', signal)
  return given
}

export function checkAborted (signal: AbortSignal | undefined): void {
  if (signal?.aborted !== true) return
  const error = coded(new Error('The operation was aborted', { cause: signal.reason }), 'ABORT_ERR')
  error.name = 'AbortError'
  throw error
}

/** The bytes of a view, not copied. */
export function viewOf (view: ArrayBufferView): Buffer {
  return Buffer.from(view.buffer, view.byteOffset, view.byteLength)
}

/** A name or path in the encoding that was asked for. */
export function encoded (text: string, { encoding }: CommonOptions): string | Buffer {
  if (!encoding || encoding === 'utf8' || encoding === 'utf-8') return text
  const bytes = Buffer.from(text)
  return encoding === 'buffer' ? bytes : bytes.toString(encoding as BufferEncoding)
}

function decoded (bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw invalidValue(name, bytes, 'must be UTF-8')
  }
}
