import { expect } from 'chai'
import { hawaii, type HawaiiOutcome, type PlacementNode } from '../../partitioning/hawaii.ts'
import { checkCounts, checkSpread, partitionsOf, placedAs } from './checks.ts'
import { canMoveWithin, naiveShares } from './naive-placement.ts'

const nodesMax = 6
const replicasMax = 3
const partitionsMax = 3
const levelNames = ['region', 'zone', 'rack', 'agent', 'disk']

/** Domains within domains; an empty one is a node. */
type Tree = readonly Tree[]

/** One text for all that differ in order alone. */
function canonical (tree: Tree): string { return `(${tree.map(canonical).sort().join('')})` }

/** All ways to put some things into groups. */
function groupings<T> ([first, ...rest]: readonly T[]): T[][][] {
  if (first === undefined) return [[]]
  return groupings(rest).flatMap((groups) => [[[first], ...groups], ...groups.map((group, at) => groups.with(at, [first, ...group]))])
}

/**
 * All levels of domains that can be put over these, up to names and order, these alone included. Each level has fewer domains than the one below and more than
 * one: a level that tells nothing apart that the next one does not changes no rule (see below).
 */
function levelsOver (trees: readonly Tree[], found = new Map<string, readonly Tree[]>()): Map<string, readonly Tree[]> {
  const key = canonical(trees)
  if (found.has(key)) return found
  found.set(key, trees)
  for (const groups of groupings(trees)) if (groups.length > 1 && groups.length < trees.length) levelsOver(groups, found)
  return found
}

/** The paths of the nodes. */
function pathsOf (trees: readonly Tree[], above: string[] = []): string[][] {
  return trees.flatMap((tree, at) => tree.length === 0 ? [above] : pathsOf(tree, [...above, `${levelNames[above.length]}-${at}`]))
}

function shapes (count: number): string[][][] {
  return [...levelsOver(Array.from({ length: count }, () => [])).values()].map((trees) => pathsOf(trees))
}

/** One node goes, gets heavier, or comes: into each domain, and into a new one in each. */
function changes (nodes: PlacementNode[]): PlacementNode[][] {
  const depth = nodes[0]!.domain.length
  const within = nodes.flatMap(({ domain }) => Array.from({ length: depth + 1 }, (_, levels) => domain.slice(0, levels)))
  const places = new Set(within.map((path) => [...path, ...Array.from({ length: depth - path.length }, () => 'new')].join('/')))
  return [
    ...nodes.map((node) => nodes.filter((other) => other !== node)),
    ...nodes.map((node) => nodes.map((other) => other === node ? { ...node, weight: 3 } : other)),
    ...[...places].map((place) => [...nodes, { id: 'new', weight: 1, domain: place === '' ? [] : place.split('/') }])
  ].filter(({ length }) => length > 0)
}

const nodesIn = (shape: string[][]): PlacementNode[] => shape.map((domain, at) => ({ id: `n${at}`, weight: 1, domain }))

describe(`Hawaii, exhaustively: all shapes of domains with up to ${nodesMax} nodes, ${replicasMax} replicas, ${partitionsMax} partitions, and every change of one node`, () => {
  for (let count = 1; count <= nodesMax; count++) {
    it(`${count} nodes: spread, shares and primaries are right, and no way needs fewer moves`, function () {
      this.timeout(240_000)
      for (const shape of shapes(count)) {
        const nodes = nodesIn(shape)
        for (let replicas = 1; replicas <= Math.min(replicasMax, count); replicas++) {
          for (let partitions = 1; partitions <= partitionsMax; partitions++) checkCase(nodes, partitions, replicas)
        }
      }
    })
  }

  it('these are all of them: as many as there are chains of ever finer partitions of so many things, and none is deeper than a path has names', () => {
    expect(Array.from({ length: nodesMax }, (_, at) => shapes(at + 1).length)).to.deep.equal([1, 1, 2, 6, 20, 90])
    expect(Math.max(...shapes(nodesMax).map((shape) => shape[0]!.length))).to.equal(nodesMax - 2)
  })

  it('a level that tells nothing apart that the next one does not, or nothing at all, changes nothing; nor does a path that ends at the last level that it shares', () => {
    for (const shape of shapes(nodesMax)) {
      const partitions = partitionsOf(partitionsMax, replicasMax)
      const sharesOf = (outcome: HawaiiOutcome): Record<string, number> => Object.fromEntries(outcome.shares.map(({ node, replicaShare }) => [node, Math.round(replicaShare * 1e6)]))
      const expected = sharesOf(hawaii({ nodes: nodesIn(shape), partitions }))
      const isAlike = (paths: string[][]): void => {
        const outcome = hawaii({ nodes: nodesIn(paths), partitions })
        // By the rules of the shape as it is without these levels.
        checkSpread({ nodes: nodesIn(shape), partitions }, outcome)
        expect(sharesOf(outcome), JSON.stringify(paths)).to.deep.equal(expected)
      }
      for (let at = 0; at < shape[0]!.length; at++) isAlike(shape.map((path) => path.toSpliced(at, 0, path.slice(0, at + 1).join('.'))))
      isAlike(shape.map((path) => ['all', ...path]))
      isAlike(shape.map((path, node) => [...path, `disk-${node}`]))
      isAlike(shape.map((path, node) => path.slice(0, lastShared(shape, node))))
    }
  })
})

/** Levels of a node's path up to the last one that another node shares. */
function lastShared (shape: string[][], node: number): number {
  const path = shape[node]!
  return Math.max(0, ...shape.filter((_, at) => at !== node).map((other) => path.findLastIndex((_, level) => path.slice(0, level + 1).join('/') === other.slice(0, level + 1).join('/')) + 1))
}

function checkCase (nodes: PlacementNode[], partitions: number, replicas: number): void {
  const input = { nodes, partitions: partitionsOf(partitions, replicas) }
  const first = hawaii(input)
  checkSpread(input, first)
  checkCounts(first)
  const twin = naiveShares(nodes, replicas, partitions)
  for (const { node, replicaShare, primaries, primaryShare } of first.shares) {
    expect(replicaShare).to.be.closeTo(twin.get(node)!, 1e-6)
    expect(Math.abs(primaries - primaryShare)).to.be.lessThan(1)
  }
  for (const changed of changes(nodes)) {
    const again = { nodes: changed, partitions: placedAs(input, first) }
    const second = hawaii(again)
    checkSpread(again, second)
    checkCounts(second)
    const fewer = second.added > 0 && canMoveWithin(again, new Map(second.shares.map(({ node, replicaShare }) => [node, replicaShare])), second.added - 1)
    expect(fewer, JSON.stringify(again)).to.equal(false)
  }
}
