import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/**
 * Bytes of new buffers after which the young generation is collected. The engine takes their weight for old memory: without
 * this, a stream of bulk data for which buffers are made forces a full collection every 64 MiB, which took a third of a node's time.
 */
export const allocatedBytesPerCollection = 16 * 1024 * 1024

let collect: ((options: { type: 'minor' }) => void) | null = null
let allocated = 0

/** To be told of buffers that are made for what is received or read, and not used again. */
export function noteAllocated (bytes: number): void {
  allocated += bytes
  if (allocated < allocatedBytesPerCollection) return
  allocated = 0
  collect ??= minorCollector()
  collect({ type: 'minor' })
}

function minorCollector (): (options: { type: 'minor' }) => void {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc')
}
