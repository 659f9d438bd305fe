import { metadataIndexOf, metadataPartitionId } from '../../../partitioning/routing.ts'
import { mode as modes } from '../../protocol/posix.ts'
import type { Leader } from '../leader.ts'
import { renameFlags } from '../operations/rename.ts'
import type { Part } from '../types.ts'
import type { Plan } from './coordinator.ts'
import type { EntryAnswer } from './messages.ts'
import { loopFault } from './queries.ts'

export interface RenameNames { dir: number, name: string, newDir: number, newName: string, flags: number, open: boolean }

/** Who has to do what for a rename; `target` is what the new name refers to now. */
export function planRename (leader: Leader, names: RenameNames, entry: EntryAnswer, target: EntryAnswer | null): Plan {
  const { dir, newDir, open } = names
  const byIndex = new Map<number, Part[]>()
  const add = (ino: number, part: Part): void => {
    const index = metadataIndexOf(ino)
    const parts = byIndex.get(index)
    if (parts === undefined) byIndex.set(index, [part])
    else parts.push(part)
  }
  const exchanges = names.flags === renameFlags.exchange
  const moved = exchanges ? [{ entry, to: newDir }, { entry: target!, to: dir }] : [{ entry, to: newDir }]
  addNames(add, names, entry, target, exchanges)
  for (const { entry, to } of moved) add(entry.ino, { kind: 'move', ino: entry.ino, parent: isDirectory(entry) ? to : null })
  if (!exchanges && target !== null) {
    add(target.ino, isDirectory(target) ? { kind: 'remove-directory', ino: target.ino } : { kind: 'links', ino: target.ino, change: -1, holders: [] })
  }
  const reparented = dir === newDir ? [] : moved.filter(({ entry }) => isDirectory(entry))
  // Partition 0 keeps the right, whatever else it has to do with the operation: its inodes have the lowest numbers.
  if (reparented.length > 0) add(0, { kind: 'tree' })
  const own = byIndex.get(leader.init.index) ?? []
  byIndex.delete(leader.init.index)
  return {
    own,
    shares: [...byIndex].map(([index, parts]) => ({ partition: metadataPartitionId(leader.init.volume.id, index), parts })),
    open,
    check: async () => {
      for (const { entry, to } of reparented) {
        const fault = await loopFault(leader, entry.ino, to)
        if (fault !== null) return fault
      }
      return null
    },
    outcome: () => target === null ? { ino: entry.ino } : { ino: entry.ino, replaced: target.ino }
  }
}

function addNames (
  add: (ino: number, part: Part) => void, { dir, name, newDir, newName }: RenameNames, entry: EntryAnswer, target: EntryAnswer | null, exchanges: boolean
): void {
  const links = (isDirectory(entry) ? 1 : 0) - (target !== null && isDirectory(target) ? 1 : 0)
  if (exchanges) add(dir, { kind: 'insert', dir, name, ino: target!.ino, type: target!.type, expect: entry.ino, links: -links })
  else add(dir, { kind: 'remove', dir, name, expect: entry.ino, links: isDirectory(entry) ? -1 : 0 })
  add(newDir, { kind: 'insert', dir: newDir, name: newName, ino: entry.ino, type: entry.type, expect: target?.ino ?? null, links })
}

function isDirectory ({ type }: EntryAnswer): boolean { return type === modes.directory }
