import { setTimeout as delay } from 'node:timers/promises'
import type { Command } from 'commander'
import type { Cluster } from '../../client/connect.ts'
import { withCluster, withClusterOptions, type ClusterOptions } from '../find-cluster.ts'
import { formatBytes, print, printJson, printTable } from '../output.ts'
import { wholeNumber } from './volume.ts'

interface TopOptions extends ClusterOptions { json?: boolean, once?: boolean, volume?: string, rows: number, interval: number }

interface Row { partition: string, volume: string, primary: string | null, readBytes: number, writeBytes: number, reads: number, writes: number, bytes: number | null }

const clearScreen = '\x1b[H\x1b[2J'

export function topCommand (partition: Command): void {
  withClusterOptions(partition.command('top'))
    .description('the busiest data partitions, live')
    .option('--volume <name>', 'of this volume')
    .option('--rows <n>', 'so many', wholeNumber, 20)
    .option('--interval <seconds>', 'between two looks', wholeNumber, 2)
    .option('--once', 'look once (also when not on a terminal)')
    .option('--json', 'for programs: once')
    .action(async (options: TopOptions) => {
      const once = options.once === true || options.json === true || !process.stdout.isTTY
      await withCluster(options, async (cluster) => {
        for (;;) {
          const rows = await rowsOf(cluster, options)
          if (!once) process.stdout.write(clearScreen)
          show(rows, options)
          if (once) return
          await delay(options.interval * 1000)
        }
      })
    })
}

async function rowsOf ({ router }: Cluster, { volume, rows }: TopOptions): Promise<Row[]> {
  const { body: { loads, stored } } = await router.toManager('manager.loads', {})
  const { map } = router
  const volumes = new Map(map.volumes.map(({ id, name }) => [id, name]))
  const rates = new Map(loads.map((load) => [load.partition, load]))
  const bytes = new Map(stored.map((one) => [one.partition, one.bytes]))
  const all = map.data.map(({ id, volume, primary }): Row => {
    const { readBytes = 0, writeBytes = 0, reads = 0, writes = 0 } = rates.get(id) ?? {}
    return { partition: id, volume: volumes.get(volume) ?? String(volume), primary, readBytes, writeBytes, reads, writes, bytes: bytes.get(id) ?? null }
  })
  const busy = (row: Row): number => row.readBytes + row.writeBytes
  return all.filter((row) => volume === undefined || row.volume === volume).sort((one, other) => busy(other) - busy(one)).slice(0, rows)
}

function show (rows: Row[], { json }: TopOptions): void {
  if (json === true) {
    printJson(rows)
    return
  }
  const sum = (field: 'readBytes' | 'writeBytes'): string => `${formatBytes(rows.reduce((total, row) => total + row[field], 0))}/s`
  print(`read ${sum('readBytes')}, written ${sum('writeBytes')} by the partitions shown`)
  printTable(['PARTITION', 'VOLUME', 'PRIMARY', 'READ', 'WRITTEN', 'READS/S', 'WRITES/S', 'BYTES'], rows.map((row) => [
    row.partition, row.volume, row.primary ?? '-', `${formatBytes(row.readBytes)}/s`, `${formatBytes(row.writeBytes)}/s`,
    row.reads.toFixed(1), row.writes.toFixed(1), row.bytes === null ? '-' : formatBytes(row.bytes)
  ]))
}
