import { decode } from '../../fsnode/protocol/frame.ts'
import { inodeCodec } from '../../fsnode/metadata/records.ts'
import { inodeInKey, nameInKey } from '../../fsnode/metadata/keys.ts'
import type { Inode } from '../../fsnode/metadata/types.ts'
import { isDirectory } from '../../fsnode/protocol/posix.ts'
import { metadataIndexOf, rootInode } from '../../partitioning/routing.ts'
import type { Cluster } from './harness.ts'

export interface Tree { inodes: Map<number, Inode>, entries: Array<{ dir: number, name: string, ino: number, type: number }> }

/** Everything that the leaders hold, written out. */
export async function collect (cluster: Cluster): Promise<Tree> {
  const tree: Tree = { inodes: new Map(), entries: [] }
  for (let index = 0; index < cluster.volume.metadataPartitions; index++) {
    const { machine, kv } = cluster.leader(index)
    await machine.flush()
    const { keys } = machine.store
    for (const [key, value] of kv.rangeOf(keys.table('inode'))) tree.inodes.set(inodeInKey(key), inodeCodec.decode(value, inodeInKey(key)))
    for (const [key, value] of kv.rangeOf(keys.table('entry'))) {
      const [ino, type] = decode(value) as [number, number]
      tree.entries.push({ dir: inodeInKey(key), name: nameInKey(key), ino, type })
    }
  }
  return tree
}

/** What is wrong with the volume as a whole; empty when nothing is. */
export async function fsck (cluster: Cluster): Promise<string[]> {
  const { inodes, entries } = await collect(cluster)
  const faults: string[] = []
  const names = new Map<number, number>()
  const subdirectories = new Map<number, number>()
  const sizes = new Map<number, number>()
  const count = (map: Map<number, number>, key: number): void => { map.set(key, (map.get(key) ?? 0) + 1) }
  for (const { dir, name, ino, type } of entries) {
    const what = `${dir}/${name} -> ${ino}`
    const inode = inodes.get(ino)
    count(names, ino)
    count(sizes, dir)
    if (inodes.get(dir) === undefined) faults.push(`${what}: the directory does not exist`)
    if (inode === undefined) faults.push(`${what}: no inode`)
    else if ((inode.mode & 0o170000) !== type) faults.push(`${what}: wrong type`)
    else if (isDirectory(inode.mode)) {
      count(subdirectories, dir)
      if (inode.parent !== dir) faults.push(`${what}: its parent is said to be ${inode.parent}`)
    }
  }
  for (const inode of inodes.values()) {
    const { ino, nlink } = inode
    if (isDirectory(inode.mode)) {
      if (inode.entries !== (sizes.get(ino) ?? 0)) faults.push(`${ino}: counts ${inode.entries} names instead of ${sizes.get(ino) ?? 0}`)
      if (nlink !== 2 + (subdirectories.get(ino) ?? 0)) faults.push(`${ino}: ${nlink} links instead of ${2 + (subdirectories.get(ino) ?? 0)}`)
      if (ino !== rootInode && names.get(ino) !== 1) faults.push(`${ino}: a directory with ${names.get(ino) ?? 0} names`)
      if (!reachesRoot(inodes, ino)) faults.push(`${ino}: not below the root`)
    } else if (nlink !== (names.get(ino) ?? 0)) {
      faults.push(`${ino}: ${nlink} links instead of ${names.get(ino) ?? 0}`)
    } else if (nlink === 0 && cluster.leader(metadataIndexOf(ino)).machine.store.orphans.get(ino) === undefined) {
      faults.push(`${ino}: no name and nobody has it open`)
    }
  }
  for (let index = 0; index < cluster.volume.metadataPartitions; index++) {
    const { store } = cluster.leader(index).machine
    const here = [...inodes.keys()].filter((ino) => metadataIndexOf(ino) === index).length
    if (store.counters.inodes !== here) faults.push(`partition ${index} counts ${store.counters.inodes} inodes instead of ${here}`)
    for (const { id, state } of store.transactions.all.values()) if (state !== 'done') faults.push(`partition ${index}: transaction ${id} is ${state}`)
  }
  return faults
}

function reachesRoot (inodes: Map<number, Inode>, ino: number): boolean {
  for (let depth = 0; depth < 1_000; depth++) {
    if (ino === rootInode) return true
    const inode = inodes.get(ino)
    if (inode === undefined) return false
    ino = inode.parent
  }
  return false
}
