import { expect } from 'chai';
import { ChaosWorld } from './chaos-world.js';
import { type FaultName, faultNames, faults, faultyRules } from './faults.js';

/** Those that show in a world without changes of membership, leases and reads on followers. */
const shown: FaultName[] = [
  'count-votes-twice',
  'two-votes-in-a-term',
  'vote-for-shorter-log',
  'ack-before-sync',
  'skip-log-matching',
  'commit-without-majority',
  'read-before-own-commit',
];

const worldsMax = 60;

/** The seed of the first world that breaks. */
function firstBroken(name: FaultName): number | undefined {
  for (let seed = 1; seed <= worldsMax; seed++) {
    const world = new ChaosWorld({ seed, members: seed % 2 === 1 ? 5 : 3, steps: 15_000 }, faultyRules(name));
    try {
      world.run();
    } catch {
      return seed;
    }
  }
  return undefined;
}

describe('raft: faults', () => {
  it('each say what they break', () => {
    expect(faultNames.length).to.be.at.least(12);
    for (const name of faultNames) expect(faults[name].breaks, name).to.match(/\w+/);
  });

  for (const name of shown) {
    it(`${name} is noticed by one of ${worldsMax} random worlds`, () => {
      expect(firstBroken(name)).to.not.equal(undefined);
    });
  }
});
