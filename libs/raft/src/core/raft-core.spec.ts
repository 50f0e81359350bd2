import { expect } from 'chai';
import { type ChaosReport, ChaosWorld } from './testing/chaos-world.js';

describe('raft: core', () => {
  for (const [members, seeds] of [
    [1, 5],
    [2, 10],
    [3, 40],
    [5, 20],
  ] as const) {
    it(`holds its promises in ${seeds} random worlds of ${members}`, function () {
      this.timeout(60_000);
      const total: ChaosReport = { acknowledged: 0, leaders: 0, reads: 0, snapshotsInstalled: 0, crashes: 0 };
      const first = Number(process.env['ENXAME_SEED'] ?? 1);
      for (let seed = first; seed < first + seeds; seed++) {
        const report = new ChaosWorld({ seed: seed * 100 + members, members, steps: 5000 * members }).run();
        for (const key of Object.keys(total) as (keyof ChaosReport)[]) total[key] += report[key];
      }
      // A schedule in which nothing happens proves nothing.
      expect(total.acknowledged).to.be.greaterThan(seeds * 20);
      expect(total.leaders).to.be.greaterThan(seeds);
      expect(total.crashes).to.be.greaterThan(seeds);
      expect(total.reads).to.be.greaterThan(seeds);
      if (members > 2) expect(total.snapshotsInstalled).to.be.greaterThan(seeds);
    });
  }
});
