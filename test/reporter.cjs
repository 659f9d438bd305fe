// Mocha's spec reporter, closed by one line that counts.
const { reporters } = require('mocha')

module.exports = class CountingReporter extends reporters.Spec {
  epilogue () {
    super.epilogue()
    const { passes, failures, pending } = this.stats
    console.log(`${passes} passed, ${failures} failed${pending > 0 ? `, ${pending} skipped` : ''}`)
  }
}
