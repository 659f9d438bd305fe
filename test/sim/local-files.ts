import { posixError } from '../../fsnode/protocol/errors.ts'
import type { Clock } from '../../fsnode/protocol/ports.ts'
import type { LocalFiles } from '../../client/short-circuit.ts'
import { machine } from './memory-files.ts'
import type { SimDisk } from './disk.ts'
import type { SimRandom } from './random.ts'

const readMsMax = 3
/** What happens to files that are moved, removed or replaced between the node's answer and the read. */
const goneShare = 0.02
const changedShare = 0.1

/** The disks of all nodes, as if they and the client were on one machine. */
export function localFiles (clock: Clock, random: SimRandom, disks: (host: string) => SimDisk | undefined): LocalFiles {
  return {
    machine,
    async read (name, into, position) {
      const [host, path] = name.split(':') as [string, string]
      await new Promise<void>((resolve) => { clock.setTimer(resolve, random.next() * readMsMax) })
      const disk = disks(host)
      if (disk === undefined || random.chance(goneShare)) throw posixError('ENOENT', name)
      const half = Math.floor(into.length / 2)
      const first = disk.files.peek(path, into.subarray(0, half), position)
      await new Promise<void>((resolve) => { clock.setTimer(resolve, random.next() * readMsMax) })
      const count = first < half ? first : half + disk.files.peek(path, into.subarray(half), position + half)
      if (count > 0 && random.chance(changedShare)) into[random.below(count)]! ^= 0x55
      return count
    }
  }
}
