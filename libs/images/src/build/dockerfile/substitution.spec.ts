import { expect } from 'chai';
import { substitute, substituteWords } from './substitution.js';

const variables = new Map([
  ['NAME', 'value'],
  ['EMPTY', ''],
  ['FILE', '/a/b/c.tar.gz'],
  ['TWO', 'x y'],
]);

describe('substitution in a Dockerfile', () => {
  const table: [word: string, result: string][] = [
    ['plain', 'plain'],
    ['$NAME', 'value'],
    ['${NAME}', 'value'],
    ['$NAME-more', 'value-more'],
    ['a${NAME}b', 'avalueb'],
    ['$NOTHING', ''],
    ['\\$NAME', '$NAME'],
    ["'$NAME'", '$NAME'],
    ['"$NAME"', 'value'],
    ['"\\$NAME"', '$NAME'],
    ['"a\\nb"', 'a\\nb'],
    ["it\\'s", "it's"],
    ['"x y"', 'x y'],
    ['$', '$'],
    ['a$', 'a$'],
    ['${NOTHING:-default}', 'default'],
    ['${EMPTY:-default}', 'default'],
    ['${EMPTY-default}', ''],
    ['${NOTHING-default}', 'default'],
    ['${NAME:+set}', 'set'],
    ['${EMPTY:+set}', ''],
    ['${EMPTY+set}', 'set'],
    ['${NOTHING+set}', ''],
    ['${NOTHING:-${NAME}}', 'value'],
    ['${NOTHING:-"a b"}', 'a b'],
    ['${NAME:?needed}', 'value'],
    ['${FILE#*/}', 'a/b/c.tar.gz'],
    ['${FILE##*/}', 'c.tar.gz'],
    ['${FILE%.*}', '/a/b/c.tar'],
    ['${FILE%%.*}', '/a/b/c'],
    ['${FILE/a/A}', '/A/b/c.tar.gz'],
    ['${FILE//\\//_}', '_a_b_c.tar.gz'],
    ['${NAME/?/}', 'alue'],
    ['$TWO', 'x y'],
  ];
  for (const [word, result] of table) {
    it(`makes ${JSON.stringify(result)} of ${word}`, () => {
      expect(substitute(word, variables, '\\')).to.equal(result);
    });
  }

  const mistakes: [word: string, message: RegExp][] = [
    ["'open", /single-quote/],
    ['"open', /double-quote/],
    ['${NAME', /unsupported modifier|missing '}'/],
    ['${', /bad substitution/],
    ['${NAME^x}', /unsupported modifier \(\^\)/],
    ['${NOTHING:?is needed}', /NOTHING: is needed/],
    ['${NOTHING?}', /NOTHING: is not allowed to be unset/],
    [`\${X:-`.repeat(40), /missing|nested/],
  ];
  for (const [word, message] of mistakes) {
    it(`refuses ${word.slice(0, 30)}`, () => {
      expect(() => substitute(word, variables, '\\')).to.throw(message);
    });
  }

  it('splits what is not quoted, a variable too', () => {
    expect(substituteWords('80 $TWO "$TWO" ', variables, '\\')).to.deep.equal(['80', 'x', 'y', 'x y']);
  });

  it('takes a back-tick as escape where the file says so', () => {
    expect(substitute('c:\\dir`$NAME', variables, '`')).to.equal('c:\\dir$NAME');
  });
});
