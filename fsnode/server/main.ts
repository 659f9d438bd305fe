import { AtollError } from '../protocol/errors.ts'
import { nodeSpecVariable, parseNodeSpec } from '../protocol/node-spec.ts'
import { createLogger } from '../protocol/pino-log.ts'
import { systemClock, systemRandom } from '../protocol/system.ts'
import { systemNetwork } from '../protocol/system-network.ts'
import { startNode } from './node.ts'

// The process of one storage node: what a scheduler launches.
try {
  const spec = parseNodeSpec(process.env[nodeSpecVariable])
  const log = createLogger(spec.nodeId)
  const components = { clock: systemClock, random: systemRandom, network: systemNetwork, log }
  const node = await startNode(components, {
    spec,
    onReplaced: () => {
      log.error('another process runs as this node: stopping')
      process.exit(1)
    }
  })
  log.info('serving', { host: spec.host, rpcPort: spec.rpcPort, raftPort: spec.raftPort })
  const stop = (): void => {
    node.close().then(() => process.exit(0), (error) => {
      log.error('could not stop cleanly', { error: String(error) })
      process.exit(1)
    })
  }
  process.once('SIGTERM', stop).once('SIGINT', stop)
} catch (error) {
  process.stderr.write(`atoll: ${error instanceof AtollError ? error.toString() : String(error instanceof Error ? error.stack : error)}\n`)
  process.exit(1)
}
