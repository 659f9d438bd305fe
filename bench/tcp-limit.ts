import { spawn } from 'node:child_process'
import { connect, createServer, type AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'

// What a bare TCP socket between two processes of this machine carries: `measureTcp()`; run as a
// program with a port, it is the sending side.
const mib = 1024 * 1024
const totalBytes = 2 * 1024 * mib

/** MB/s of 1 MiB writes over loopback. */
export function measureTcp (): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      let received = 0
      const began = performance.now()
      socket.on('data', (chunk: Buffer) => { received += chunk.length })
      socket.on('end', () => {
        server.close()
        resolve(received / 1e6 / ((performance.now() - began) / 1000))
      })
      socket.on('error', reject)
    })
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      spawn(process.execPath, ['--disable-warning=ExperimentalWarning', fileURLToPath(import.meta.url), String(port)], { stdio: 'inherit' }).on('error', reject)
    })
  })
}

const port = Number(process.argv[2])
if (process.argv[1] === fileURLToPath(import.meta.url) && port > 0) {
  const block = Buffer.alloc(mib, 7)
  const socket = connect(port, '127.0.0.1')
  let left = totalBytes
  const push = (): void => {
    for (let more = true; left > 0 && more; left -= mib) more = socket.write(block)
    if (left <= 0) socket.end()
    else socket.once('drain', push)
  }
  push()
}
