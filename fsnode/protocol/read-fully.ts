import fs from 'node:fs'

/** Reads from a position until the buffer is full or the file ends. Resolves with the count of bytes. By callbacks: a FileHandle costs twice the time per call. */
export function readFully (descriptor: number, into: Buffer, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const more = (done: number): void => {
      fs.read(descriptor, into, done, into.length - done, position + done, (error, count) => {
        if (error !== null) reject(error)
        else if (count === 0 || done + count === into.length) resolve(done + count)
        else more(done + count)
      })
    }
    if (into.length === 0) resolve(0)
    else more(0)
  })
}
