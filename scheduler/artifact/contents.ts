import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'

export interface SourceFile { /** In the archive. */ name: string, path: string, executable: boolean }

/** Folders of ours that a storage node consists of. */
const folders = ['fsnode', 'partitioning']
/** Dependencies of commands and mounts, which no node needs. */
const notOfNodes = new Set(['cli-table3', 'commander', 'fuse-native', 'ora'])
/** Of packages: what only people and compilers read, and what is for other machines. */
const unneeded = /(\.d\.[cm]?ts|\.map|\.md|\.markdown|\.tsbuildinfo)$|[/\\](test|tests|docs|example|examples|\.github)[/\\]/i

interface PackageJson { dependencies?: Record<string, string>, optionalDependencies?: Record<string, string>, peerDependencies?: Record<string, string> }

/** All files of a storage node below the folder that holds package.json: our code and the packages it needs, and no others. */
export function nodeFiles (root: string): SourceFile[] {
  const files = [
    { name: 'package.json', path: join(root, 'package.json'), executable: false },
    ...folders.flatMap((folder) => filesBelow(join(root, folder)).map((path) => ({ name: nameOf(root, path), path, executable: false })))
  ]
  for (const directory of packagesOf(root)) {
    for (const path of filesBelow(directory)) if (isNeeded(root, path)) files.push({ name: nameOf(root, path), path, executable: false })
  }
  return files.sort((a, b) => a.name < b.name ? -1 : 1)
}

const nameOf = (root: string, path: string): string => relative(root, path).split(sep).join('/')

function isNeeded (root: string, path: string): boolean {
  const name = `/${nameOf(root, path)}`
  if (unneeded.test(name)) return false
  const prebuilt = /\/prebuilds\/([^/]+)\//.exec(name)?.[1]
  return prebuilt === undefined || prebuilt === `${process.platform}-${process.arch}`
}

/** Without the packages within: each is found on its own. */
function filesBelow (directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : filesBelow(path)
    return entry.isFile() ? path : []
  })
}

const read = (directory: string): PackageJson => JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as PackageJson

/** The folders of all packages that a node needs, directly or not. */
export function packagesOf (root: string): string[] {
  const found = new Set<string>()
  const visit = (directory: string, name: string, required: boolean): void => {
    const where = resolvePackage(directory, name)
    if (where === undefined) {
      if (required) throw new Error(`the package '${name}', which ${directory} needs, is not installed`)
      return
    }
    if (found.has(where)) return
    found.add(where)
    const { dependencies = {}, optionalDependencies = {}, peerDependencies = {} } = read(where)
    for (const each of Object.keys(dependencies)) visit(where, each, !(each in optionalDependencies))
    for (const each of Object.keys({ ...optionalDependencies, ...peerDependencies })) visit(where, each, false)
  }
  for (const name of Object.keys(read(root).dependencies ?? {})) if (!notOfNodes.has(name)) visit(root, name, true)
  return [...found].sort()
}

/** As Node looks for it. */
function resolvePackage (from: string, name: string): string | undefined {
  for (let directory = from; ; directory = dirname(directory)) {
    const candidate = join(directory, 'node_modules', name)
    if (existsSync(join(candidate, 'package.json'))) return candidate
    if (dirname(directory) === directory) return undefined
  }
}

/** Changes when a file does: to know whether an archive that was built before is still right. */
export function fingerprintOf (files: SourceFile[]): string {
  return files.map(({ name, path }) => {
    const { size, mtimeMs } = statSync(path)
    return `${name} ${size} ${mtimeMs}`
  }).join('\n')
}
