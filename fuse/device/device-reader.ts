import { AtollError } from '../../fsnode/protocol/errors.ts'

/** What of Node's inner stream classes is used here. */
interface StreamHandle {
  open (fd: number): number
  useUserBuffer (buffer: Buffer): void
  /** Returns the buffer for the next read, where it is another one. */
  onread: () => Buffer | undefined
  readStart (): number
}
interface Bindings {
  pipe_wrap: { Pipe: new (type: number) => StreamHandle, constants: { SOCKET: number } }
  stream_wrap: { streamBaseState: Int32Array, kReadBytesOrError: number }
}
type Binding = <Name extends keyof Bindings>(name: Name) => Bindings[Name]

export interface DeviceReaderInit {
  /** /dev/fuse, mounted. It becomes non-blocking, and is never closed here. */
  fd: number
  /** Takes what was read; returns the buffer for the next read. Must not throw. */
  onRead: (buffer: Buffer, length: number) => Buffer
  /** The device cannot be read any more. `code`: that of read(2), negative. */
  onEnd: (code: number) => void
}

/**
 * Reads the device in the event loop, when it says that a request is there. Node's public interface reads a character device
 * in threads only, whose wake-ups cost more than most requests do (docs/fuse.md). Of its own streams the one for pipes asks
 * nothing of a descriptor but poll(2) and read(2), which the device has.
 *
 * @throws AtollError ATOLL_UNSUPPORTED_NODE
 */
export function readDevice ({ fd, onRead, onEnd }: DeviceReaderInit, buffer: Buffer): void {
  const { binding } = process as unknown as { binding?: Binding }
  if (binding === undefined) throw new AtollError('ATOLL_UNSUPPORTED_NODE', `this version of Node (${process.version}) cannot wait for a device`, { hint: 'Node 22 and 24 can' })
  const { Pipe, constants } = binding('pipe_wrap')
  const { streamBaseState, kReadBytesOrError } = binding('stream_wrap')
  const handle = new Pipe(constants.SOCKET)
  let current = buffer
  handle.onread = () => {
    const length = streamBaseState[kReadBytesOrError]!
    if (length > 0) current = onRead(current, length)
    else if (length < 0) onEnd(length)
    return current
  }
  const failure = handle.open(fd)
  if (failure !== 0) throw new AtollError('ATOLL_INTERNAL', `the FUSE device cannot be waited for: error ${failure}`)
  handle.useUserBuffer(current)
  handle.readStart()
}
