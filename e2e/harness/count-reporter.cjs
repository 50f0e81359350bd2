/** Mocha's spec reporter that also writes its totals to the file ENXAME_TEST_TOTALS names. */
const { writeFileSync } = require('node:fs');
const Mocha = require('mocha');

module.exports = class CountReporter extends Mocha.reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    runner.once('end', () => {
      const { passes, failures, pending } = runner.stats;
      writeFileSync(process.env.ENXAME_TEST_TOTALS, JSON.stringify({ passes, failures, pending }));
    });
  }
};
