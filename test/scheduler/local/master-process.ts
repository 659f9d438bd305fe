import { silentLog } from '../../../fsnode/protocol/pino-log.ts'
import { systemClock, systemRandom } from '../../../fsnode/protocol/system.ts'
import { startLocalMaster } from '../../../scheduler/local/index.ts'

// An embedded master in a process of its own, to be killed: `node master-process.ts WORKDIR`. Prints its URL.
const master = await startLocalMaster({ clock: systemClock, random: systemRandom, log: silentLog }, { workDir: process.argv[2]! })
console.log(JSON.stringify({ url: master.url, agentId: master.agentId, masterId: master.masterId }))
