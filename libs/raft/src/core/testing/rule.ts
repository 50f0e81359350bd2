/**
 * A test that stands for one sentence. It is run with the sound rules, where it must pass, and once more with each
 * fault that breaks the sentence, where it must not: a test that cannot fail proves nothing.
 */
import { expect } from 'chai';
import { type Rules, soundRules } from '../rules.js';
import { type FaultName, faultyRules } from './faults.js';

export function rule(sentence: string, test: (rules: Rules) => void, ...noticed: FaultName[]): void {
  it(sentence, () => test(soundRules));
  for (const fault of noticed) {
    it(`${sentence} (and not with ${fault})`, () => {
      expect(() => test(faultyRules(fault))).to.throw();
    });
  }
}
