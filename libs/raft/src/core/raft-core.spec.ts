import { expect } from 'chai';
import { countVotes, majorityIndex } from './quorum/majority.js';
import { type ChaosReport, ChaosWorld } from './testing/chaos-world.js';

describe('raft: core', () => {
  it('counts majorities', () => {
    expect(majorityIndex([5])).to.equal(5);
    expect(majorityIndex([5, 3])).to.equal(3);
    expect(majorityIndex([1, 9, 4])).to.equal(4);
    expect(majorityIndex([1, 2, 3, 4, 5])).to.equal(3);
    const votes = (...given: (boolean | undefined)[]) => {
      const ids = given.map((_, i) => i);
      const entries = ids.flatMap((id): [number, boolean][] => {
        const vote = given[id];
        return vote === undefined ? [] : [[id, vote]];
      });
      return countVotes(ids, new Map(entries));
    };
    expect(votes(true)).to.equal('won');
    expect(votes(true, undefined)).to.equal('pending');
    expect(votes(true, false)).to.equal('lost');
    expect(votes(true, true, undefined)).to.equal('won');
    expect(votes(true, false, undefined)).to.equal('pending');
    expect(votes(false, false, true, undefined)).to.equal('lost');
  });

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
