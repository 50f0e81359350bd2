import { expect } from 'chai';
import { labelsMatch, parseFilters, queryFlag } from './filters.js';

describe('parseFilters', () => {
  const allowed = ['name', 'label'];
  const good: [string | null, [string, string[]][]][] = [
    [null, []],
    ['', []],
    ['{}', []],
    ['null', []],
    ['{"name":{"a":true,"b":true}}', [['name', ['a', 'b']]]],
    ['{"name":{"a":false}}', []],
    [
      '{"name":["a"],"label":["x=1"]}',
      [
        ['name', ['a']],
        ['label', ['x=1']],
      ],
    ],
    ['{"name":[]}', []],
  ];
  for (const [text, expected] of good) {
    it(`reads ${text}`, () => expect([...parseFilters(text, allowed)]).to.deep.equal(expected));
  }
  const bad: [string, string][] = [
    ['{', 'invalid filters: not JSON'],
    ['[]', 'invalid filters: not a JSON object'],
    ['{"nam":["a"]}', "invalid filter 'nam'"],
    ['{"name":[1]}', "invalid filters: values of 'name' must be strings"],
    ['{"name":"a"}', "invalid filters: 'name' must hold a list or a map of values"],
    [`{"name":["${'x'.repeat(70_000)}"]}`, 'invalid filters: over 65536 bytes'],
  ];
  for (const [text, message] of bad) {
    it(`refuses ${text.slice(0, 20)}`, () => expect(() => parseFilters(text, allowed)).to.throw(message));
  }
});

describe('labelsMatch', () => {
  const table: [string[], boolean][] = [
    [['a'], true],
    [['a=1'], true],
    [['a=2'], false],
    [['b='], true],
    [['c'], false],
    [['a', 'c'], false],
    [['toString'], false],
  ];
  for (const [wanted, expected] of table) {
    it(`${wanted.join(' and ')} -> ${expected}`, () =>
      expect(labelsMatch(new Map([['label', wanted]]), 'label', { a: '1', b: '' })).to.equal(expected));
  }
});

describe('queryFlag', () => {
  it('knows the words for false', () => {
    const query = new URLSearchParams('a=1&b=0&c=&d=False&e=yes');
    expect(['a', 'b', 'c', 'd', 'e', 'f'].map((name) => queryFlag(query, name))).to.deep.equal([
      true,
      false,
      false,
      false,
      true,
      false,
    ]);
    expect(queryFlag(query, 'f', true)).to.equal(true);
  });
});
