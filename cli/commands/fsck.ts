import type { Command } from 'commander'
import type { VolumeClient } from '../../client/types.ts'
import { checkVolume, type Finding, type FsckCounts } from '../fsck/check.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { withCluster, withClusterOptions, clusterOptionText, type ClusterOptions } from '../find-cluster.ts'
import { formatBytes, print, printJson, printTable, startProgress } from '../output.ts'

interface FsckOptions extends ClusterOptions { volume?: string, data?: string, readData?: boolean, json?: boolean }

export interface FsckReport extends FsckCounts { volume: string, problems: Finding[] }

export function fsckCommand (program: Command): void {
  withClusterOptions(program.command('fsck'))
    .description('walk the name space: names lead to inodes, link counts agree, sizes are plausible')
    .option('--volume <name>', 'only this volume (default: all)')
    .option('--read-data', 'also read every byte, which verifies it against its checksum')
    .option('--json', 'for programs')
    .action(async (options: FsckOptions) => {
      const progress = startProgress(options.json)
      const reports = await withCluster(options, async (cluster) => {
        const names = options.volume === undefined ? cluster.volumes().map((volume) => volume.name) : [options.volume]
        const found: FsckReport[] = []
        for (const volume of names) {
          progress.step(`walking volume "${volume}"`)
          const client = await cluster.openVolume(volume)
          try {
            found.push({ volume, ...await check(client, options, (text) => { progress.step(text) }) })
          } finally {
            await client.close()
          }
        }
        return found
      })
      progress.done('checked')
      if (options.json === true) printJson(reports)
      else reports.forEach(report)
      const problems = reports.reduce((sum, one) => sum + one.problems.length, 0)
      if (problems > 0) {
        throw new AtollError('ATOLL_DAMAGED', `${problems} ${problems === 1 ? 'problem' : 'problems'} in the name space`, { hint: `verify and repair the replicas: atoll scrub${clusterOptionText(options)}` })
      }
    })
}

async function check (client: VolumeClient, { readData }: FsckOptions, onProgress: (text: string) => void): Promise<Omit<FsckReport, 'volume'>> {
  const { findings, ...counts } = await checkVolume(client, { readData: readData === true, onProgress })
  return { ...counts, problems: findings }
}

function report ({ volume, directories, files, others, bytes, bytesRead, problems }: FsckReport): void {
  print(`volume ${volume}: ${directories} directories, ${files} files, ${others} others, ${formatBytes(bytes)}${bytesRead > 0 ? ` (${formatBytes(bytesRead)} read)` : ''}: ${problems.length} problems`)
  if (problems.length > 0) printTable(['CODE', 'PATH', 'INODE', 'WHAT'], problems.map(({ code, path, ino, what }) => [code, path, ino, what]))
}
