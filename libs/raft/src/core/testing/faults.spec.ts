import { expect } from 'chai';
import { ChaosWorld } from './chaos-world.js';
import { type FaultName, faultNames, faults, faultyRules } from './faults.js';

/** A seed that shows the fault in a world without changes of membership, leases and follower reads. */
const shownBy: Partial<Record<FaultName, number>> = {
  'count-votes-twice': 1,
  'two-votes-in-a-term': 7,
  'vote-for-shorter-log': 1,
  'ack-before-sync': 9,
  'skip-log-matching': 3,
  'truncate-matching-appends': 3,
  'commit-without-majority': 1,
  'read-before-own-commit': 1,
};

describe('raft: faults', () => {
  it('each say what they break', () => {
    expect(faultNames.length).to.be.at.least(12);
    for (const name of faultNames) expect(faults[name].breaks, name).to.match(/\w+/);
  });

  for (const [name, seed] of Object.entries(shownBy) as [FaultName, number][]) {
    it(`${name} is noticed by the random worlds`, () => {
      const world = new ChaosWorld(
        { seed, members: seed % 2 === 1 ? 5 : 3, steps: 15_000 },
        faultyRules(name),
      );
      expect(() => world.run()).to.throw(/seed|raft/);
    });
  }
});
