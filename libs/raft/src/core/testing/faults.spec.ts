import { expect } from 'chai';
import { soundRules } from '../rules.js';
import { faultNames, faults, faultyRules } from './faults.js';

/** That each is noticed is for those to show who run whole groups: `libs/sim`. */
describe('raft: faults', () => {
  it('each say what they break, and break a rule that there is', () => {
    expect(faultNames.length).to.be.at.least(12);
    for (const name of faultNames) {
      expect(faults[name].breaks, name).to.match(/\w+/);
      expect(Object.keys(faultyRules(name)), name).to.have.members(Object.keys(soundRules));
      expect(faultyRules(name), name).not.to.deep.equal(soundRules);
    }
  });
});
