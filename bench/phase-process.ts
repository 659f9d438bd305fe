import { syncFiles } from './sync-files.ts'
import { phases, prepareRandom, prepareSmall, type Phase, type Sizes } from './workloads.ts'

// One phase on a directory, in a process of its own: `node phase-process.ts DIR PHASE SIZES-JSON`.
// 'prepare random' and 'prepare small' lay out what the phases of that name need.
const [dir, phase, sizesText] = process.argv.slice(2)
const sizes = JSON.parse(sizesText!) as Sizes
if (phase === 'prepare random') await prepareRandom(syncFiles, dir!, sizes)
else if (phase === 'prepare small') await prepareSmall(syncFiles, dir!, sizes)
else process.stdout.write(JSON.stringify(await phases[phase as Phase](syncFiles, dir!, sizes)))
