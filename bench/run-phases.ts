import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { touchMemory } from './touch-memory.ts'
import { phases, prepareRandom, prepareSmall, type BenchFiles, type Measured, type Phase, type Sizes } from './workloads.ts'

export type Results = Partial<Record<string, Measured>>

export const sizesFull: Sizes = { sequentialMiB: 512, randomFileMiB: 128, randomOperations: 10_000, smallFiles: 2_000, smallBytes: 4096 }
export const sizesQuick: Sizes = { sequentialMiB: 128, randomFileMiB: 32, randomOperations: 2_000, smallFiles: 400, smallBytes: 4096 }

const phaseProgram = fileURLToPath(new URL('phase-process.ts', import.meta.url))
const parallelProcesses = 4

/** Where the phases run, and how one is run there. */
export interface Target {
  prepare (kind: 'random' | 'small', dir: string, sizes: Sizes): Promise<void>
  phase (phase: Phase, dir: string, sizes: Sizes): Promise<Measured>
  /** Before a phase whose files must come from the nodes, not from a cache of the kernel. */
  dropCaches (): Promise<void>
  mkdir (dir: string): Promise<void>
  remove (dir: string): Promise<void>
}

/** A directory; each phase is a process of its own, so that this one may serve the mount. */
export function directoryTarget (dropCaches: () => Promise<void>): Target {
  const run = async (dir: string, phase: string, sizes: Sizes): Promise<string> => {
    const { stdout } = await promisify(execFile)(process.execPath, ['--disable-warning=ExperimentalWarning', phaseProgram, dir, phase, JSON.stringify(sizes)])
    return stdout
  }
  return {
    prepare: async (kind, dir, sizes) => { await run(dir, `prepare ${kind}`, sizes) },
    phase: async (phase, dir, sizes) => JSON.parse(await run(dir, phase, sizes)) as Measured,
    dropCaches,
    mkdir: async (dir) => { await promisify(execFile)('mkdir', ['-p', dir]) },
    remove: async (dir) => { await promisify(execFile)('rm', ['-rf', dir]) }
  }
}

/** Files in this process: Atoll's file API. */
export function filesTarget (files: BenchFiles): Target {
  return {
    prepare: (kind, dir, sizes) => kind === 'random' ? prepareRandom(files, dir, sizes) : prepareSmall(files, dir, sizes),
    phase: (phase, dir, sizes) => phases[phase](files, dir, sizes),
    dropCaches: async () => {},
    mkdir: async (dir) => { await files.mkdir(dir) },
    remove: (dir) => files.rm(dir, { recursive: true, force: true })
  }
}

/** Sequential phases are run so often, and the median counts: they are short, the first is compiled as it runs, and a machine that others use has moods. */
const sequentialRounds = 5
/** What a sequential phase may take new: three replicas and the page cache. */
const sequentialCopies = 4

/** `phase` some times in turn, each on memory that is warm, and each after `prepare`. */
export async function sequentially (sizes: Sizes, prepare: () => Promise<void>, phase: () => Promise<Measured>): Promise<Measured> {
  const rounds: Measured[] = []
  for (let round = 0; round < sequentialRounds; round++) {
    await prepare()
    touchMemory(sequentialCopies * sizes.sequentialMiB * 1024 * 1024)
    rounds.push(await phase())
  }
  return rounds.sort((one, other) => one.rate - other.rate)[Math.floor(sequentialRounds / 2)]!
}

/** All phases in their order. Files go into a new directory, which is removed. */
export async function runPhases (target: Target, parent: string, sizes: Sizes, report: (phase: string, measured: Measured) => void, { parallel = true } = {}): Promise<Results> {
  const dir = `${parent}/atoll-bench-${process.pid}`
  const results: Results = {}
  const measure = async (name: string, work: () => Promise<Measured>): Promise<void> => {
    const measured = await work()
    results[name] = measured
    report(name, measured)
  }
  const one = (phase: Phase, where: string): Promise<void> => measure(phase, () => target.phase(phase, where, sizes))
  await target.mkdir(dir)
  try {
    const file = `${dir}/sequential`
    await measure('sequential write', () => sequentially(sizes, () => target.remove(file), () => target.phase('sequential write', dir, sizes)))
    await measure('sequential read', () => sequentially(sizes, () => target.dropCaches(), () => target.phase('sequential read', dir, sizes)))
    await target.prepare('random', dir, sizes)
    await target.dropCaches()
    await one('random read', dir)
    await one('random write', dir)
    const small = `${dir}/small`
    await target.prepare('small', small, sizes)
    await one('small create', small)
    await target.dropCaches()
    await one('small stat', small)
    await target.dropCaches()
    await one('small read', small)
    await one('small remove', small)
    if (parallel) await measure('small create x4', () => createInParallel(target, dir, sizes))
  } finally {
    await target.remove(dir)
  }
  return results
}

async function createInParallel (target: Target, dir: string, sizes: Sizes): Promise<Measured> {
  const places = Array.from({ length: parallelProcesses }, (_, index) => `${dir}/p${index}`)
  for (const place of places) await target.prepare('small', place, sizes)
  const began = performance.now()
  await Promise.all(places.map((place) => target.phase('small create', place, sizes)))
  return { rate: parallelProcesses * sizes.smallFiles / ((performance.now() - began) / 1000), unit: 'files/s' }
}

