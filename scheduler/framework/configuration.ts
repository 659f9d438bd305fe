import { createHash } from 'node:crypto'
import type { NodeConfiguration } from './types.ts'

/** Of the text of a value; keys in the order in which they were set. */
export function hashOf (value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16)
}

/** Names what a node is launched with; another generation is another version, so that all can be restarted as they are. */
export function configurationVersion (configuration: NodeConfiguration, generation: number): string {
  return generation === 0 ? hashOf(configuration) : `${hashOf(configuration)}.${generation}`
}
