import { expect } from 'chai'
import { hawaii, type PlacementNode } from '../../partitioning/hawaii.ts'
import { checkCounts, checkSpread, partitionsOf, placedAs } from './checks.ts'
import { canMoveWithin, naiveShares } from './naive-placement.ts'

const nodesMax = 6
const replicasMax = 3
const partitionsMax = 3

/** All ways to write a number as a sum, the greatest first. */
function sums (total: number, most = total): number[][] {
  if (total === 0) return [[]]
  const found: number[][] = []
  for (let first = Math.min(total, most); first >= 1; first--) for (const rest of sums(total - first, first)) found.push([first, ...rest])
  return found
}

/** All ways to put nodes into racks in zones, up to the names. */
function shapes (count: number): string[][][] {
  return sums(count).flatMap((zones) => {
    let found: string[][][] = [[]]
    zones.forEach((size, zone) => {
      const within = sums(size).map((racks) => racks.flatMap((nodes, rack) => Array.from({ length: nodes }, () => [`z${zone}`, `r${rack}`])))
      found = found.flatMap((paths) => within.map((more) => [...paths, ...more]))
    })
    return found
  })
}

/** One node goes, gets heavier, or comes, wherever it may. */
function changes (nodes: PlacementNode[]): PlacementNode[][] {
  const places = new Set(nodes.map(({ domain }) => domain.join('/')).concat('z0/new', 'new/new'))
  return [
    ...nodes.map((node) => nodes.filter((other) => other !== node)),
    ...nodes.map((node) => nodes.map((other) => other === node ? { ...node, weight: 3 } : other)),
    ...[...places].map((place) => [...nodes, { id: 'new', weight: 1, domain: place.split('/') }])
  ].filter(({ length }) => length > 0)
}

describe(`Hawaii, exhaustively: all racks in zones with up to ${nodesMax} nodes, ${replicasMax} replicas, ${partitionsMax} partitions, and every change of one node`, () => {
  for (let count = 1; count <= nodesMax; count++) {
    it(`${count} nodes: spread, shares and primaries are right, and no way needs fewer moves`, function () {
      this.timeout(60_000)
      for (const shape of shapes(count)) {
        const nodes = shape.map((domain, at): PlacementNode => ({ id: `n${at}`, weight: 1, domain }))
        for (let replicas = 1; replicas <= Math.min(replicasMax, count); replicas++) {
          for (let partitions = 1; partitions <= partitionsMax; partitions++) checkCase(nodes, partitions, replicas)
        }
      }
    })
  }
})

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
