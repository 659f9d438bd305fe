import { expect } from 'chai'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'

// The project's rules about itself, as tests.
const root = fileURLToPath(new URL('..', import.meta.url))
const tracked = spawnSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' }).stdout.split('\n').filter((name) => name !== '')
const sources = tracked.filter((name) => name.endsWith('.ts') && !name.startsWith('test/'))
const textOf = (name: string): string => readFileSync(join(root, name), 'utf8')

const linesMax = 600
const testLinesMax = 900

/** Which folders a folder may import from; docs/architecture.md draws the same. */
const arrows: Record<string, string[]> = {
  partitioning: ['partitioning'],
  'fsnode/protocol': ['fsnode/protocol', 'partitioning'],
  fsnode: ['fsnode', 'partitioning'],
  scheduler: ['scheduler', 'fsnode/protocol', 'partitioning'],
  client: ['client', 'fsnode/protocol', 'partitioning'],
  fuse: ['fuse', 'client', 'fsnode/protocol', 'partitioning'],
  cli: ['cli', 'client', 'fuse', 'scheduler', 'fsnode/protocol', 'partitioning', 'bench'],
  bench: ['bench', 'cli', 'client', 'fuse', 'scheduler', 'fsnode', 'partitioning', 'test']
}

function layerOf (name: string): string {
  return name.startsWith('fsnode/protocol/') ? 'fsnode/protocol' : name.split('/')[0]!
}

function importsOf (name: string): string[] {
  const found = [...textOf(name).matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map((match) => match[1]!)
  return found.map((path) => normalize(join(dirname(name), path)))
}

describe('the project keeps its own rules', () => {
  it('imports point only where the architecture allows', () => {
    const wrong: string[] = []
    for (const name of sources) {
      const allowed = arrows[layerOf(name)] ?? []
      for (const target of importsOf(name)) {
        if (!allowed.some((folder) => target.startsWith(`${folder}/`))) wrong.push(`${name} -> ${target}`)
      }
    }
    expect(wrong).to.deep.equal([])
  })

  it('pure folders and cores touch no clock, randomness, network or disk', () => {
    const pure = sources.filter((name) => /^(partitioning\/|fsnode\/raft\/core\/|fuse\/protocol\/|fsnode\/metadata\/|client\/(?!file-api))/.test(name))
    const banned = /\bDate\.now\(|\bMath\.random\(|\bsetTimeout\(|\bsetInterval\(|\bnew Date\(\)|from 'node:(fs|net|http|child_process|crypto)/
    const wrong = pure.filter((name) => banned.test(textOf(name)) && !textOf(name).includes('// shell:'))
    expect(wrong).to.deep.equal([])
  })

  it(`no file is longer than ${linesMax} lines, and none is left unfinished or holds what is not ASCII`, () => {
    const wrong: string[] = []
    for (const name of tracked.filter((name) => /\.(ts|cjs|md)$/.test(name) && !name.startsWith('test/fixtures/'))) {
      const text = textOf(name)
      if (name.endsWith('.ts') && text.split('\n').length > (name.startsWith('test/') ? testLinesMax : linesMax)) wrong.push(`${name}: too long`)
      if (name !== 'test/tidy.test.ts' && /\b(TODO|FIXME|XXX)\b|\b(it|describe)\.only\b/.test(text)) wrong.push(`${name}: unfinished`)
      if (name.endsWith('.ts') && /[^\x00-\x7f]/.test(text)) wrong.push(`${name}: not ASCII`)
    }
    expect(wrong).to.deep.equal([])
  })

  it('type-checks', function () {
    this.timeout(120_000)
    const tsc = join(root, 'node_modules/typescript/bin/tsc')
    const run = spawnSync(process.execPath, [tsc, '--noEmit'], { cwd: root, encoding: 'utf8' })
    expect(run.stdout + run.stderr).to.equal('')
  })

  it('the lock file names no registry', () => {
    expect(textOf('package-lock.json')).to.not.include('"resolved": "http')
  })
})
