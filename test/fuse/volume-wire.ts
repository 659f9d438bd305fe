import type { Socket } from 'node:net'
import { deserialize, serialize } from 'node:v8'

/** Messages between a test's volume server and its clients: a length, then what structured clone makes of it. */
export function sendMessage (socket: Socket, message: unknown): void {
  const body = serialize(message)
  const head = Buffer.alloc(4)
  head.writeUInt32LE(body.length)
  socket.cork()
  socket.write(head)
  socket.write(body)
  socket.uncork()
}

export class MessageReader {
  private readonly receive: (message: unknown) => void
  private chunks: Buffer[] = []
  private size = 0

  constructor (receive: (message: unknown) => void) { this.receive = receive }

  push (chunk: Buffer): void {
    this.chunks.push(chunk)
    this.size += chunk.length
    for (;;) {
      if (this.size < 4) return
      if (this.chunks[0]!.length < 4) this.chunks = [Buffer.concat(this.chunks)]
      const end = 4 + this.chunks[0]!.readUInt32LE(0)
      if (this.size < end) return
      const whole = Buffer.concat(this.chunks)
      this.chunks = [whole.subarray(end)]
      this.size = whole.length - end
      this.receive(deserialize(whole.subarray(4, end)))
    }
  }
}
