import { createLogger } from '../../fsnode/protocol/pino-log.ts'
import { systemClock, systemRandom } from '../../fsnode/protocol/system.ts'
import { HolderProcess } from './holder-process.ts'
import { holderEnvironment, type HolderInit, type HolderMessage } from './types.ts'

/* The holder's entry: started by startMount, in a session of its own; it outlives whoever started it. */

const init = JSON.parse(process.env[holderEnvironment] ?? 'null') as HolderInit | null
if (init === null) throw new Error(`${holderEnvironment} is not set: this is started by startMount`)
delete process.env[holderEnvironment]

/** How long the last lines of the log may take, in milliseconds. */
const lastWordsMs = 100

const holder = new HolderProcess({
  clock: systemClock,
  random: systemRandom,
  log: createLogger('fuse-holder'),
  tellStarter: (message: HolderMessage) => {
    if (process.connected) process.send!(message, undefined, undefined, () => { if (process.connected) process.disconnect!() })
  },
  exit: (code) => { systemClock.setTimer(() => { process.exit(code) }, lastWordsMs) }
}, init)

for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => { void holder.stop() })
process.on('SIGHUP', () => {})

await holder.start()
