import { createServer, type Socket } from 'node:net'
import { systemClock } from '../../fsnode/protocol/system.ts'
import { codeOf, messageOf } from '../../fsnode/protocol/errors.ts'
import type { OpenFile } from '../../client/types.ts'
import { MemoryVolume } from './memory-volume.ts'
import { MessageReader, sendMessage } from './volume-wire.ts'

/*
 * A memory volume in a process of its own, for mounts whose worker is killed. Started with the path
 * of a Unix socket. ATOLL_TEST_WRITE_DELAY_MS: how long a write takes, to have some in flight.
 */

const volume = new MemoryVolume({ clock: systemClock })
const writeDelayMs = Number(process.env.ATOLL_TEST_WRITE_DELAY_MS ?? 0)

interface Call { id: number, method: string, args: unknown[] }

async function perform (method: string, args: unknown[]): Promise<unknown> {
  switch (method) {
    case 'file.read': {
      const [ino, offset, length] = args as [number, number, number]
      return volume.readAt(ino, offset, length)
    }
    case 'file.write': {
      const [ino, offset, data] = args as [number, number, Buffer]
      if (writeDelayMs > 0) await new Promise<void>((resolve) => { systemClock.setTimer(resolve, writeDelayMs) })
      volume.writeAt(ino, offset, [Buffer.from(data)])
      return null
    }
    case 'create': {
      const { attr, created } = await (volume.create as (...args: unknown[]) => Promise<{ attr: unknown, file: OpenFile, created: boolean }>)(...args)
      return { attr, created }
    }
    case 'open':
      await (volume.open as (...args: unknown[]) => Promise<OpenFile>)(...args)
      return null
    case 'forget':
      volume.forget(args[0] as number)
      return null
    default:
      return await (volume as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>)[method]!(...args)
  }
}

createServer((socket: Socket) => {
  const reader = new MessageReader((message) => {
    const { id, method, args } = message as Call
    perform(method, args).then(
      (result) => { sendMessage(socket, { id, result }) },
      (error: unknown) => { sendMessage(socket, { id, code: codeOf(error), message: messageOf(error) }) }
    )
  })
  socket.on('data', (chunk: Buffer) => { reader.push(chunk) })
  socket.on('error', () => {})
}).listen(process.argv[2], () => { process.send?.('listening') })
process.on('disconnect', () => { process.exit(0) })
