// A program that behaves like a storage node as far as a scheduler can see: it keeps count of its starts on its
// volume, and tells it, with its pid, to whoever connects to its port.
import { appendFileSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { parseNodeSpec } from '../../../fsnode/protocol/node-spec.ts'

const spec = parseNodeSpec(process.env['ATOLL_NODE'])
const file = join(spec.dataDirectory, 'starts')
appendFileSync(file, `${process.pid}\n`)
const starts = readFileSync(file, 'utf8').trimEnd().split('\n').length
const server = createServer((socket) => {
  socket.on('error', () => {})
  socket.end(JSON.stringify({ nodeId: spec.nodeId, pid: process.pid, starts, managers: spec.managers }))
})
server.listen(spec.rpcPort, spec.host)
process.on('SIGTERM', () => { process.exit(0) })
