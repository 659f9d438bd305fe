import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/**
 * Received bytes after which the young generation is collected. The engine allocates a new buffer of
 * 64 KiB for each read of a socket and takes their weight for old memory: without this, a stream of bulk
 * data forces a full collection every 64 MiB, which took a third of a node's time.
 */
export const receivedBytesPerCollection = 16 * 1024 * 1024
/** Smaller chunks are not worth counting. */
const bulkBytesMin = 16 * 1024

let collect: ((options: { type: 'minor' }) => void) | null = null
let received = 0

/** To be told of each chunk that a socket gave. */
export function noteReceived (bytes: number): void {
  if (bytes < bulkBytesMin) return
  received += bytes
  if (received < receivedBytesPerCollection) return
  received = 0
  collect ??= minorCollector()
  collect({ type: 'minor' })
}

function minorCollector (): (options: { type: 'minor' }) => void {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc')
}
