import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, readSync, rmSync, statSync, unlinkSync, writeFileSync, writeSync } from 'node:fs'
import type { BenchFiles } from './workloads.ts'

/**
 * A directory through system calls without detours: node's synchronous calls, since its asynchronous
 * ones would measure the thread pool. Only for processes that do not serve the mount they use.
 */
export const syncFiles: BenchFiles = {
  async open (path, flags) {
    const fd = openSync(path, flags)
    return {
      read: async (buffer, offset, length, position) => ({ bytesRead: readSync(fd, buffer, offset, length, position) }),
      write: async (buffer, offset, length, position) => ({ bytesWritten: writeSync(fd, buffer, offset, length, position) }),
      sync: async () => { fsyncSync(fd) },
      close: async () => { closeSync(fd) }
    }
  },
  readFile: async (path) => readFileSync(path),
  writeFile: async (path, data) => { writeFileSync(path, data) },
  mkdir: async (path) => mkdirSync(path),
  stat: async (path) => statSync(path),
  unlink: async (path) => { unlinkSync(path) },
  rm: async (path, options) => { rmSync(path, options) }
}
