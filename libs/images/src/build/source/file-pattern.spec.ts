import { expect } from 'chai';
import { matchesPattern } from './file-pattern.js';

describe('reference patterns', () => {
  const table: [pattern: string, text: string, matches: boolean][] = [
    ['demo', 'demo', true],
    ['demo', 'demo:1', false],
    ['demo:*', 'demo:1', true],
    ['*', 'demo', true],
    ['*', 'a/demo', false],
    ['*/*', 'a/demo', true],
    ['d?mo', 'demo', true],
    ['d?mo', 'd/mo', false],
    ['[a-d]emo', 'demo', true],
    ['[^a-d]emo', 'demo', false],
    ['demo[0-9', 'demo[0-9', true],
    ['*o*1', 'demo:1', true],
    ['*o*2', 'demo:1', false],
    ['', '', true],
    ['**', '', true],
    ['.*', 'demo', false],
  ];
  for (const [pattern, text, matches] of table) {
    it(`${JSON.stringify(pattern)} ${matches ? 'matches' : 'does not match'} ${JSON.stringify(text)}`, () => {
      expect(matchesPattern(pattern, text)).to.equal(matches);
    });
  }

  it('answers at once whatever the pattern', () => {
    expect(matchesPattern(`${'*a'.repeat(200)}b`, 'a'.repeat(400))).to.equal(false);
  });
});
