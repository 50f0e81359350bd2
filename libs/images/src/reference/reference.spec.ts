import { expect } from 'chai';
import fc from 'fast-check';
import {
  canonicalString,
  familiarName,
  familiarString,
  parseReference,
  withDefaultTag,
} from './reference.js';

const hex = 'a'.repeat(64);

describe('image references', () => {
  const accepted: [text: string, canonical: string, familiar: string][] = [
    ['demo', 'docker.io/library/demo', 'demo'],
    ['demo:1', 'docker.io/library/demo:1', 'demo:1'],
    ['enxame/demo:1', 'docker.io/enxame/demo:1', 'enxame/demo:1'],
    ['docker.io/demo', 'docker.io/library/demo', 'demo'],
    ['docker.io/library/demo', 'docker.io/library/demo', 'demo'],
    ['index.docker.io/demo', 'docker.io/library/demo', 'demo'],
    ['localhost/demo', 'localhost/demo', 'localhost/demo'],
    ['localhost:5000/a/b:2', 'localhost:5000/a/b:2', 'localhost:5000/a/b:2'],
    ['127.0.0.1:5601/a', '127.0.0.1:5601/a', '127.0.0.1:5601/a'],
    ['[::1]:5000/a', '[::1]:5000/a', '[::1]:5000/a'],
    ['ghcr.io/a/b.c-d__e/f', 'ghcr.io/a/b.c-d__e/f', 'ghcr.io/a/b.c-d__e/f'],
    ['Upper/demo', 'Upper/demo', 'Upper/demo'],
    [`demo:1@sha256:${hex}`, `docker.io/library/demo:1@sha256:${hex}`, `demo:1@sha256:${hex}`],
    [`demo@sha256:${hex}`, `docker.io/library/demo@sha256:${hex}`, `demo@sha256:${hex}`],
    ['a--b', 'docker.io/library/a--b', 'a--b'],
    ['docker.io/library/a/b', 'docker.io/library/a/b', 'library/a/b'],
  ];
  for (const [text, canonical, familiar] of accepted) {
    it(`reads ${text}`, () => {
      const reference = parseReference(text);
      expect([canonicalString(reference), familiarString(reference)]).to.deep.equal([canonical, familiar]);
    });
  }

  const refused: [text: string, words: string][] = [
    ['', 'invalid reference format'],
    [':1', 'invalid reference format'],
    ['demo:', 'invalid reference format'],
    ['demo@', 'invalid reference format'],
    ['demo@sha256:abc', 'invalid reference format'],
    [`demo@sha512:${hex}${hex}`, 'unsupported digest'],
    ['Demo', 'must be lowercase'],
    ['a/Demo', 'must be lowercase'],
    ['demo//x', 'invalid reference format'],
    ['/demo', 'invalid reference format'],
    ['../demo', 'invalid reference format'],
    ['demo/../x', 'invalid reference format'],
    ['-demo', 'invalid reference format'],
    ['a___b', 'invalid reference format'],
    ['demo:.x', 'invalid reference format'],
    [`demo:${'x'.repeat(129)}`, 'invalid reference format'],
    [hex, 'cannot specify 64-byte hexadecimal strings'],
    [`a/${'b'.repeat(260)}`, 'more than 255 characters'],
    ['x'.repeat(5000), 'too long'],
    ['demo tag', 'invalid reference format'],
    ['exa mple.com/a', 'invalid reference format'],
    ['demo\n', 'invalid reference format'],
  ];
  for (const [text, words] of refused) {
    it(`refuses ${JSON.stringify(text).slice(0, 40)}`, () => {
      expect(() => parseReference(text)).to.throw(words);
    });
  }

  it('means latest when nothing is said', () => {
    expect(familiarString(withDefaultTag(parseReference('demo')))).to.equal('demo:latest');
    expect(familiarString(withDefaultTag(parseReference(`demo@sha256:${hex}`)))).to.equal(
      `demo@sha256:${hex}`,
    );
  });

  it('keeps its meaning through its familiar and its canonical form', () => {
    const part = fc.stringMatching(/^[a-z0-9]{1,6}([._-][a-z0-9]{1,4}){0,2}$/);
    const reference = fc.tuple(
      fc.constantFrom('', 'localhost/', 'localhost:5000/', 'reg.example:80/', 'docker.io/'),
      fc.array(part, { minLength: 1, maxLength: 3 }),
      fc.option(fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}$/)),
    );
    fc.assert(
      fc.property(reference, ([domain, parts, tag]) => {
        const text = domain + parts.join('/') + (tag === null ? '' : `:${tag}`);
        // `a.b_c/d` reads as a registry whose name no host can have.
        fc.pre(domain !== '' || !/[._]/.test(parts[0] ?? ''));
        const parsed = parseReference(text);
        expect(parseReference(familiarString(parsed))).to.deep.equal(parsed);
        expect(parseReference(canonicalString(parsed))).to.deep.equal(parsed);
        expect(familiarName(parsed).length).to.be.at.most(canonicalString(parsed).length);
      }),
    );
  });

  it('never throws anything but a refusal', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 400 }), (text) => {
        try {
          parseReference(text);
        } catch (error) {
          expect(error).to.have.property('code', 'invalid-argument');
        }
      }),
    );
  });
});
