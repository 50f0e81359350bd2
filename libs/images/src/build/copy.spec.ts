import { expect } from 'chai';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { readArchive } from '../archive/tar-reader.js';
import { tar, type TarEntry } from '../fixtures/tar-builder.js';
import { testFolder } from '../fixtures/test-folder.js';
import {
  checkDestination,
  copyLayer,
  folderLayer,
  hashOfItems,
  selectItems,
  type CopyTarget,
} from './copy.js';
import { SourceTree } from './source/source-tree.js';

const files: TarEntry[] = [
  { name: './', type: '5', mode: 0o755 },
  { name: 'a.txt', content: 'one' },
  { name: 'b.txt', content: 'two', mode: 0o755, uid: 5 },
  { name: 'src/', type: '5', mode: 0o700 },
  { name: 'src/deep/file', content: 'three' },
  { name: 'src/link', type: '2', link: 'deep/file' },
  { name: 'src/hard', type: '1', link: 'a.txt' },
  { name: 'out', type: '2', link: '../../etc' },
  { name: 'to-src', type: '2', link: '/src' },
];

describe('COPY', () => {
  let folder: ReturnType<typeof testFolder>;
  let tree: SourceTree;
  const read = (entries: TarEntry[]): Promise<SourceTree> =>
    SourceTree.read(Readable.from([tar(entries)]), join(folder.path, `scratch-${Math.random()}`));

  beforeEach(async () => {
    folder = testFolder();
    tree = await read(files);
  });
  afterEach(async () => {
    await tree.close();
    folder.remove();
  });

  const target = (path: string, ...existing: string[]): CopyTarget => ({
    path,
    existing: existing.map((each) => ({
      path: each,
      type: 'folder',
      mode: 0o711,
      uid: 3,
      gid: 4,
      mtimeSeconds: 9,
    })),
  });
  async function layer(sources: string[], to: CopyTarget, options: object = {}): Promise<string[]> {
    const items = sources.flatMap((source) => selectItems(tree, 'COPY', source));
    const all = { intoFolder: false, nowSeconds: 7, ...options };
    const lines: string[] = [];
    for await (const member of readArchive(Readable.from(copyLayer(items, to, all)))) {
      const text = (await buffer(Readable.from(member.content))).toString();
      lines.push(
        `${member.name} ${member.mode.toString(8)} ${member.uid}:${member.gid} ${text}${member.link}`,
      );
    }
    return lines;
  }

  const table: [what: string, sources: string[], target: CopyTarget, options: object, lines: string[]][] = [
    ['a file under a new name', ['a.txt'], target('x/y', 'x'), {}, ['x/ 711 3:4 ', 'x/y 644 0:0 one']],
    [
      'a file into a folder that is there',
      ['a.txt'],
      target('x', 'x'),
      {},
      ['x/ 711 3:4 ', 'x/a.txt 644 0:0 one'],
    ],
    [
      'a file into a folder that is not',
      ['b.txt'],
      target('n/m'),
      { intoFolder: true },
      ['n/ 755 0:0 ', 'n/m/ 755 0:0 ', 'n/m/b.txt 755 0:0 two'],
    ],
    [
      'what is in a folder',
      ['src'],
      target('x', 'x'),
      {},
      [
        'x/ 711 3:4 ',
        'x/deep/ 755 0:0 ',
        'x/deep/file 644 0:0 three',
        'x/hard 644 0:0 one',
        'x/link 777 0:0 deep/file',
      ],
    ],
    ['a folder through a link', ['to-src/deep'], target(''), {}, ['file 644 0:0 three']],
    [
      'a pattern',
      ['*.txt'],
      target('x', 'x'),
      { intoFolder: true },
      ['x/ 711 3:4 ', 'x/a.txt 644 0:0 one', 'x/b.txt 755 0:0 two'],
    ],
    [
      'with an owner and a mode',
      ['a.txt'],
      target('n/x'),
      { owner: { uid: 8, gid: 9 }, mode: 0o600 },
      ['n/ 755 8:9 ', 'n/x 600 8:9 one'],
    ],
  ];
  for (const [what, sources, to, options, lines] of table) {
    it(`makes a layer of ${what}`, async () => {
      const made = await layer(sources, to, options);
      expect(made.map((line) => line.replace('link 644', 'link 777'))).to.deep.equal(lines);
    });
  }

  it('tells steps apart by names, modes and contents, but not by times and owners', async () => {
    const hash = async (change: Partial<TarEntry>): Promise<string> => {
      const other = await read(
        files.map((entry) => (entry.name === 'b.txt' ? { ...entry, ...change } : entry)),
      );
      const text = hashOfItems(selectItems(other, 'COPY', '.'));
      await other.close();
      return text;
    };
    const same = await hash({});
    expect(await hash({ mtime: 5, uid: 1, gid: 2 })).to.equal(same);
    expect(await hash({ content: 'twO' })).not.to.equal(same);
    expect(await hash({ mode: 0o644 })).not.to.equal(same);
    expect(await hash({ name: 'c.txt' })).not.to.equal(same);
    expect(same).to.match(/^dir:[0-9a-f]{64}$/);
    expect(hashOfItems(selectItems(tree, 'COPY', '*.txt'))).to.match(/^multi:/);
  });

  const mistakes: [what: string, source: string, message: RegExp][] = [
    ['what is not there', 'none', /file not found in build context or excluded by .dockerignore: stat none/],
    ['a way out by name', '../x', /forbidden path outside the build context: \.\.\/x/],
    ['a way out by a link', 'out/passwd', /file not found/],
    ['a pattern without a match', 'z*', /no source files were specified/],
  ];
  for (const [what, source, message] of mistakes) {
    it(`refuses ${what}`, () => {
      expect(() => selectItems(tree, 'COPY', source)).to.throw(message);
    });
  }

  it('refuses several files for one name, and a folder over a file', async () => {
    const items = selectItems(tree, 'COPY', '*.txt');
    expect(() => checkDestination('COPY', items, '/x')).to.throw('must be a directory and end with a /');
    const file: CopyTarget = { path: 'x', existing: [{ ...target('x', 'x').existing[0]!, type: 'file' }] };
    const message = await layer(['src'], file).catch((error: Error) => error.message);
    expect(message).to.equal('cannot copy to non-directory: /x');
  });

  it('refuses a context that leaves its folder', async () => {
    for (const entry of [
      { name: '../x', content: 'x' },
      { name: 'x', type: '1', link: '../../etc/passwd' },
    ]) {
      const message = await read([entry]).catch((error: Error) => error.message);
      expect(message).to.match(/leaves its folder|names no file in it/);
    }
  });

  it('lets a later entry win, whatever the earlier was', async () => {
    const other = await read([
      { name: 'x/y', content: 'old' },
      { name: 'x', content: 'file now' },
      { name: 'z', content: 'file' },
      { name: 'z/in', content: 'folder now' },
    ]);
    expect([...other.walk('')].map(({ path, type }) => `${path} ${type}`)).to.deep.equal([
      ' folder',
      'x file',
      'z folder',
      'z/in file',
    ]);
    await other.close();
  });

  it('makes a working directory with what is missing above it, or nothing', async () => {
    const made = folderLayer(target('x/y/z', 'x'), { nowSeconds: 7 });
    const names: string[] = [];
    for await (const { name } of readArchive(Readable.from(made ?? []))) names.push(name);
    expect(names).to.deep.equal(['x/', 'x/y/', 'x/y/z/']);
    expect(folderLayer(target('x', 'x'), { nowSeconds: 7 })).to.equal(undefined);
  });

  it('keeps big contexts in a file', async () => {
    const content = Buffer.alloc(20 * 1024 * 1024, 'x');
    const file = join(folder.path, 'big');
    const big = await SourceTree.read(
      Readable.from([
        tar([
          { name: 'a', content },
          { name: 'b', content: 'end' },
        ]),
      ]),
      file,
    );
    expect(existsSync(file)).to.equal(true);
    const read = async (name: string): Promise<Buffer> => buffer(Readable.from(big.content(big.get(name)!)));
    expect((await read('a')).equals(content)).to.equal(true);
    expect((await read('b')).toString()).to.equal('end');
    await big.close();
  });
});
