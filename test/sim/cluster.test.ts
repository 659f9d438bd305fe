import { expect } from 'chai'
import { runSeed, type RunReport } from './run.ts'
import { seedOfCode } from './seed-of-code.ts'

const seeds = Number(process.env.ATOLL_SEEDS ?? 50)
/** Others for each change, so that each is tried where none has looked; the name of each test tells how to repeat it. */
const firstSeed = Number(process.env.ATOLL_SEED ?? seedOfCode())
/** A slow machine looks at fewer seeds rather than taking for ever. */
const budgetMs = 200_000
const seedTimeoutMs = 120_000

describe(`a whole cluster under faults (ATOLL_SEED=${firstSeed})`, function () {
  this.timeout(seedTimeoutMs)
  const reports: RunReport[] = []
  let began = 0
  before(() => { began = performance.now() })

  for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
    it(`keeps every promise (npm run sim -- --seed ${seed})`, async function () {
      if (performance.now() - began > budgetMs) this.skip()
      const report = await runSeed(seed)
      reports.push(report)
      expect(report.violations, `again: npm run sim -- --seed ${seed}\n${report.violations.join('\n')}`).to.deep.equal([])
    })
  }

  it('and the runs were worth something: work was done, faults struck, leaders changed, searches came to an end', function () {
    if (reports.length < 10) this.skip()
    const total = (of: (report: RunReport) => number): number => reports.reduce((sum, report) => sum + of(report), 0)
    expect(total(({ operations }) => operations) / reports.length).to.be.greaterThan(200)
    expect(total(({ faults }) => Object.values(faults).reduce((sum, count) => sum + count, 0)) / reports.length).to.be.greaterThan(4)
    expect(total(({ terms, config }) => terms - 1 - config.metadataPartitions)).to.be.greaterThan(reports.length)
    const scheduled = reports.filter(({ config }) => config.scheduled)
    // In few of them nothing may end, by chance.
    if (scheduled.length > 10) expect(scheduled.reduce((sum, { launches, config }) => sum + launches - config.nodes, 0), 'nodes launched again').to.be.greaterThan(scheduled.length)
    // Some volumes have one partition, or even ones.
    if (reports.length > 30) expect(total(({ madeElsewhere }) => madeElsewhere), 'directories in other partitions than their parents').to.be.greaterThan(reports.length / 4)
    expect(total(({ undecided }) => undecided) / reports.length).to.be.lessThan(0.1)
  })

  it('a run without faults is sound, and no operation fails', async () => {
    const { violations, unknown } = await runSeed(firstSeed, { config: { faults: [], durationMs: 5_000 } })
    expect(violations).to.deep.equal([])
    expect(Object.keys(unknown).filter((code) => code !== 'ENOENT' && code !== 'ESTALE')).to.deep.equal([])
  })

  it('the same seed gives the same run, message by message', async () => {
    const config = { durationMs: 8_000, faultEveryMs: 800, scheduled: true }
    const [first, second, other] = [await runSeed(firstSeed, { config }), await runSeed(firstSeed, { config }), await runSeed(firstSeed + 1, { config })]
    expect(second.traceHash).to.equal(first.traceHash)
    expect(other.traceHash).to.not.equal(first.traceHash)
  })
})
