import { openSync, readSync } from 'node:fs'

// Reads FILE from its start for COUNT MiB in 1 MiB calls and prints the rate: `node read-stream.ts FILE COUNT`.
const [path, count] = process.argv.slice(2)
const mib = 1024 * 1024
const block = Buffer.allocUnsafe(mib)
const fd = openSync(path!, 'r')
const began = performance.now()
for (let index = 0; index < Number(count); index++) {
  for (let done = 0; done < mib;) {
    const bytes = readSync(fd, block, done, mib - done, index * mib + done)
    if (bytes === 0) throw new Error('the file ends early')
    done += bytes
  }
}
process.stdout.write(JSON.stringify({ rate: Number(count) * mib / 1e6 / ((performance.now() - began) / 1000), unit: 'MB/s' }))
