import { expect } from 'chai';
import { registryAuthWarnings } from './registry-auth.js';

describe('X-Registry-Auth', () => {
  const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const table: [string, string | undefined, boolean][] = [
    ['no header', undefined, false],
    ['the anonymous one', 'e30=', false],
    ['empty fields', encode({ username: '', password: '' }), false],
    ['a login', encode({ username: 'a', password: 'b' }), true],
    ['a token', encode({ identitytoken: 't' }), true],
    ['rubbish', '%%%', true],
  ];
  for (const [what, header, warns] of table) {
    it(`${what}: ${warns ? 'a warning' : 'silence'}`, () =>
      expect(registryAuthWarnings(header) !== null).to.equal(warns));
  }
});
