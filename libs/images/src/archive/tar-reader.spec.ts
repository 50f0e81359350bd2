import { expect } from 'chai';
import { EnxameError } from '#libs/model';
import { tar, tarMember, type TarEntry } from '../fixtures/tar-builder.js';
import { readArchive } from './tar-reader.js';

async function* inPieces(bytes: Buffer, length: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

async function list(bytes: Buffer, pieceBytes = 64 * 1024): Promise<string[]> {
  const lines: string[] = [];
  for await (const member of readArchive(inPieces(bytes, pieceBytes))) {
    const chunks: Buffer[] = [];
    for await (const chunk of member.content) chunks.push(chunk);
    lines.push(`${member.type} ${member.name} ${member.link}${Buffer.concat(chunks).toString()}`);
  }
  return lines;
}

describe('image archives', () => {
  const entries: TarEntry[] = [
    { name: './first', content: 'one' },
    { name: 'd/', type: '5' },
    { name: 'short', content: 'two', pax: { path: 'p'.repeat(200) } },
    { name: 'soft', type: '2', link: 'first' },
    { name: 'hard', type: '1', link: 'first' },
    { name: 'empty' },
  ];
  const expected = [
    'file first one',
    'folder d/ ',
    `file ${'p'.repeat(200)} two`,
    'symlink soft first',
    'link hard first',
    'file empty ',
  ];

  for (const pieceBytes of [1, 7, 511, 512, 513, 65_536]) {
    it(`are read the same in pieces of ${pieceBytes} bytes`, async () => {
      expect(await list(tar(entries), pieceBytes)).to.deep.equal(expected);
    });
  }

  it('take names from GNU headers', async () => {
    const bytes = Buffer.concat([
      tarMember({ name: '././@LongLink', type: 'L', content: `${'g'.repeat(150)}\0` }),
      tar([{ name: 'short', content: 'x' }]),
    ]);
    expect(await list(bytes)).to.deep.equal([`file ${'g'.repeat(150)} x`]);
  });

  it('may be skipped through', async () => {
    const names: string[] = [];
    for await (const { name } of readArchive(inPieces(tar(entries), 100))) names.push(name);
    expect(names.length).to.equal(6);
  });

  const refused: [what: string, bytes: Buffer, words: string][] = [
    ['nothing', Buffer.alloc(0), 'empty'],
    ['only an end', Buffer.alloc(1024), 'empty'],
    ['a cut header', tar(entries).subarray(0, 300), 'ends in the middle'],
    ['a cut file', tar(entries).subarray(0, 514), 'ends in the middle'],
    ['a wrong checksum', Buffer.from(tar(entries)).fill('z', 0, 1), 'checksum'],
    ['a huge extended header', tarMember({ name: 'p', type: 'x', size: 2 ** 32 }), 'at most 1048576'],
    ['a malformed extended header', tarMember({ name: 'p', type: 'x', content: '9 a=b\n' }), 'malformed'],
    ['a size that is none', tar([{ name: 'p', pax: { size: 'many' } }]), 'not a number'],
  ];
  for (const [what, bytes, words] of refused) {
    it(`are refused when they are ${what}`, async () => {
      const refusal = await list(bytes).catch((error: unknown) => error);
      expect(refusal).to.be.instanceOf(EnxameError);
      expect(String(refusal)).to.contain(words);
    });
  }

  it('never fail by anything but a refusal when a byte is changed', async () => {
    const bytes = tar(entries);
    for (let at = 0; at < bytes.length; at += 3) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 0x81;
      const outcome = await list(changed).catch((error: unknown) => error);
      expect(
        Array.isArray(outcome) || outcome instanceof EnxameError,
        `byte ${at}: ${String(outcome)}`,
      ).to.equal(true);
    }
  });
});
