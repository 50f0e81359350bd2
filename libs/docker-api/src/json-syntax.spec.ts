import { expect } from 'chai';
import { whyNotJson } from './json-syntax.js';

describe('why a text is no JSON', () => {
  const cases: [text: string, why: string][] = [
    ['{invalid json', "invalid JSON: invalid character 'i' looking for beginning of object key string"],
    ['{} trailing content', 'unexpected content after JSON'],
    ['{"a":[1,{"b":"c"},[]],"d":{}} {}', 'unexpected content after JSON'],
    ['x', "invalid JSON: invalid character 'x' looking for beginning of value"],
    ['{"a"', 'invalid JSON: unexpected EOF'],
    ['{"a" 1}', "invalid JSON: invalid character '1' after object key"],
    ['{"a":1 "b"}', `invalid JSON: invalid character '"' after object key:value pair`],
    ['{"a":1,}', "invalid JSON: invalid character '}' looking for beginning of object key string"],
    ['[1 2]', "invalid JSON: invalid character '2' after array element"],
    ['[1,]', "invalid JSON: invalid character ']' looking for beginning of value"],
    ['[[],[', 'invalid JSON: unexpected EOF'],
    ['"a\nb"', String.raw`invalid JSON: invalid character '\n' in string literal`],
    [String.raw`"\x"`, "invalid JSON: invalid character 'x' in string escape code"],
    [
      String.raw`"\u12z4"`,
      String.raw`invalid JSON: invalid character 'z' in \u hexadecimal character escape`,
    ],
    ["{'a':1}", String.raw`invalid JSON: invalid character '\'' looking for beginning of object key string`],
    ['trup', "invalid JSON: invalid character 'p' in literal true (expecting 'e')"],
    ['-x', "invalid JSON: invalid character 'x' in numeric literal"],
    ['1.x', "invalid JSON: invalid character 'x' after decimal point in numeric literal"],
    ['1ex', "invalid JSON: invalid character 'x' in exponent of numeric literal"],
  ];
  for (const [text, why] of cases) {
    it(JSON.stringify(text), () => {
      expect(() => JSON.parse(text) as unknown).to.throw();
      expect(whyNotJson(text)).to.equal(why);
    });
  }

  it('does not recurse: a million brackets', () => {
    expect(whyNotJson('['.repeat(1_000_000))).to.equal('invalid JSON: unexpected EOF');
  });
});
