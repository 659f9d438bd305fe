import { connect } from 'node:net'

// Exit status 0: the node of this environment takes connections. A node that is still replaying does not listen yet: the grace
// of the health check covers that; one that has ended ends its task by itself.
const { host, rpcPort } = JSON.parse(process.env['ATOLL_NODE'] ?? '{}') as { host: string, rpcPort: number }
const socket = connect({ host, port: rpcPort })
socket.once('connect', () => { process.exit(0) })
socket.once('error', (error) => {
  process.stderr.write(`${error.message}\n`)
  process.exit(1)
})
