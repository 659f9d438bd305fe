import { Readable, Writable } from 'node:stream'

/** A readable stream over one that has to be opened first; an open error is the stream's. */
export function lazyReadable (open: () => Promise<Readable>, options: { encoding?: BufferEncoding }): Readable {
  const source = async function * (): AsyncGenerator<Buffer> { yield * await open() }
  const stream = Readable.from(source(), { objectMode: false })
  if (options.encoding !== undefined) stream.setEncoding(options.encoding)
  return stream
}

/** A writable stream over one that has to be opened first. */
export function lazyWritable (open: () => Promise<Writable>): Writable {
  let inner: Promise<Writable> | null = null
  const opened = (): Promise<Writable> => {
    inner ??= open().then((stream) => stream.on('error', (error) => outer.destroy(error)))
    return inner
  }
  const outer = new Writable({
    construct: (done) => { opened().then(() => { done() }, done) },
    write: (chunk, encoding, done) => { opened().then((stream) => stream.write(chunk, encoding, done), done) },
    final: (done) => { opened().then((stream) => stream.end(done), done) },
    destroy: (error, done) => {
      if (error !== null) void inner?.then((stream) => stream.destroy(error), () => {})
      done(error)
    }
  })
  return outer
}

