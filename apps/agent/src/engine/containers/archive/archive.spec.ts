import { EnxameError, type ContainerId } from '#libs/model';
import { expect } from 'chai';
import { existsSync, lstatSync, type Stats } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { extract, pack, type Header } from 'tar-stream';
import { eventually, RuntimeFixture } from '../../../../../../libs/runtime/src/runtime-fixture.js';
import { changesOf, type Change } from './changes.js';
import { packTree } from './pack-tree.js';
import { goFileMode } from './path-stat.js';
import { RootedTree, type Located } from './rooted-tree.js';
import { unpackTree } from './unpack-tree.js';

type Entry = Partial<Header> & { name: string; content?: string };

async function tarOf(entries: readonly Entry[]): Promise<Buffer> {
  const archive = pack();
  for (const { content, ...header } of entries) archive.entry(header, content ?? '');
  archive.finalize();
  return buffer(Readable.from(archive as AsyncIterable<Buffer>));
}

async function listed(tar: Buffer): Promise<[string, string, string][]> {
  const reader = extract();
  const entries: [string, string, string][] = [];
  reader.end(tar);
  for await (const entry of reader) {
    const content = (await buffer(entry as AsyncIterable<Buffer>)).toString();
    entries.push([entry.header.name, entry.header.type, entry.header.linkname ?? content]);
  }
  return entries;
}

async function packed(root: string, path: string, as: string): Promise<Buffer> {
  const tree = new RootedTree(root);
  try {
    const from = tree.locate(path, { follow: false }) as Located & { stats: Stats };
    if (from.stats === undefined) return Buffer.alloc(0);
    const to = new PassThrough();
    const [tar] = await Promise.all([
      buffer(to),
      packTree({ from, as, to, signal: new AbortController().signal }),
    ]);
    return tar;
  } finally {
    tree.close();
  }
}

async function wordsOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'done';
  } catch (error) {
    return error instanceof EnxameError ? `${error.code}: ${error.message}` : String(error);
  }
}

describe('files of a container', () => {
  let folder: string;
  let root: string;

  beforeEach(async () => {
    folder = await mkdtemp('/tmp/enxame-archive-');
    root = join(folder, 'root');
    await mkdir(join(root, 'etc/inner'), { recursive: true });
    await mkdir(join(folder, 'outside'));
    await writeFile(join(folder, 'outside/secret'), 'secret');
    await writeFile(join(root, 'etc/file'), 'inside');
    await symlink('/etc', join(root, 'absolute'));
    await symlink('../../../../../../..', join(root, 'etc/up'));
    await symlink(join(folder, 'outside'), join(root, 'escape'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  const unpack = (tar: Buffer, into: string, change: object = {}): Promise<void> =>
    unpackTree({
      root,
      into,
      from: Readable.from([tar], { objectMode: false }),
      noOverwriteDirNonDir: false,
      owner: undefined,
      ...change,
    });

  it('ends when the client leaves, wherever it is, and no error is left without a listener', async () => {
    for (let n = 0; n < 20; n++) await writeFile(join(root, `etc/inner/${n}`), Buffer.alloc(n * 20_000));
    const problems: unknown[] = [];
    const hear = (problem: unknown): void => void problems.push(problem);
    process.prependListener('unhandledRejection', hear);
    try {
      for (let chunks = 1; chunks < 40; chunks++) {
        const tree = new RootedTree(root);
        const from = tree.locate('/', { follow: false }) as Located & { stats: Stats };
        const client = new AbortController();
        const to = new PassThrough();
        let left = chunks;
        to.on('data', () => {
          if (--left === 0) client.abort();
          to.pause();
          setImmediate(() => to.resume());
        });
        await packTree({ from, as: '', to, signal: client.signal });
        tree.close();
        await new Promise((resolve) => setImmediate(resolve));
      }
    } finally {
      process.off('unhandledRejection', hear);
    }
    expect(problems).to.deep.equal([]);
  });

  it('names what an export holds as Docker does, without a word in front', async () => {
    const tree = new RootedTree(root);
    try {
      const from = tree.locate('/', { follow: false }) as Located & { stats: Stats };
      const to = new PassThrough();
      const options = { from, as: '', withoutTop: true, to, signal: new AbortController().signal };
      const [tar] = await Promise.all([buffer(to), packTree(options)]);
      expect((await listed(tar)).map(([name]) => name)).to.include.members(['etc/', 'etc/inner/']);
    } finally {
      tree.close();
    }
  });

  it('never leaves the root, whatever links say', () => {
    const tree = new RootedTree(root);
    try {
      const path = (text: string, follow = true): string | undefined => {
        const found = tree.locate(text, { follow });
        return found?.stats === undefined ? undefined : found.path;
      };
      expect(path('/absolute/file')).to.equal('/etc/file');
      expect(path('/etc/up/etc/file')).to.equal('/etc/file');
      expect(path('/../../etc')).to.equal('/etc');
      expect(path('/escape/secret')).to.equal(undefined);
      expect(path('/escape', false)).to.equal('/escape');
      expect(path('/')).to.equal('/');
    } finally {
      tree.close();
    }
  });

  it('packs a folder with links, long names and hard links once', async () => {
    const long = 'n'.repeat(150);
    await writeFile(join(root, 'etc/inner', long), 'long');
    const tar = await packed(root, '/etc', 'etc');
    expect(await listed(tar)).to.deep.equal([
      ['etc/', 'directory', ''],
      ['etc/file', 'file', 'inside'],
      ['etc/inner/', 'directory', ''],
      [`etc/inner/${long}`, 'file', 'long'],
      ['etc/up', 'symlink', '../../../../../../..'],
    ]);
  });

  it('unpacks with owners, modes, links and folders that were missing', async () => {
    const mtime = new Date('2026-01-02T03:04:05Z');
    await unpack(
      await tarOf([
        { name: 'new/deep/file', content: 'x', mode: 0o4750, uid: 7, gid: 8, mtime },
        { name: 'new/link', type: 'symlink', linkname: 'deep/file' },
        { name: 'new/hard', type: 'link', linkname: 'new/deep/file' },
        { name: 'pipe', type: 'fifo', mode: 0o600 },
      ]),
      '/etc',
    );
    const made = lstatSync(join(root, 'etc/new/deep/file'));
    expect([made.mode & 0o7777, made.uid, made.gid, made.nlink, made.mtime]).to.deep.equal([
      0o4750,
      7,
      8,
      2,
      mtime,
    ]);
    expect(lstatSync(join(root, 'etc/pipe')).isFIFO()).to.equal(true);
    expect(goFileMode(made)).to.equal(2 ** 23 + 0o750);
  });

  it('writes nothing outside through links, in the archive or in the container', async () => {
    const evil: Entry[][] = [
      [{ name: '../outside/made', content: 'x' }],
      [{ name: 'escape/made', content: 'x' }],
      [
        { name: 'door', type: 'symlink', linkname: join(folder, 'outside') },
        { name: 'door/made', content: 'x' },
      ],
      [{ name: 'hard', type: 'link', linkname: '../outside/secret' }],
      [{ name: 'hard', type: 'link', linkname: 'escape/secret' }],
    ];
    for (const entries of evil) await wordsOf(unpack(await tarOf(entries), '/'));
    expect(existsSync(join(folder, 'outside/made'))).to.equal(false);
    expect(await readFile(join(folder, 'outside/secret'), 'utf8')).to.equal('secret');
    expect(lstatSync(join(folder, 'outside/secret')).nlink).to.equal(1);
  });

  it('keeps folders and files apart when asked to, and replaces a link, not what it leads to', async () => {
    const file = await tarOf([{ name: 'inner', content: 'x' }]);
    const strict = { noOverwriteDirNonDir: true };
    expect(await wordsOf(unpack(file, '/etc', strict))).to.match(
      /^invalid-argument: cannot overwrite directory/,
    );
    const dir = await tarOf([{ name: 'file', type: 'directory' }]);
    expect(await wordsOf(unpack(dir, '/etc', strict))).to.match(
      /^invalid-argument: cannot overwrite non-dir/,
    );
    await unpack(await tarOf([{ name: 'escape', content: 'a file now' }]), '/');
    expect(lstatSync(join(root, 'escape')).isFile()).to.equal(true);
    expect(existsSync(join(folder, 'outside/secret'))).to.equal(true);
  });

  it('says that an archive is damaged', async () => {
    expect(await wordsOf(unpack(Buffer.alloc(512, 7), '/'))).to.match(/^invalid-argument: unexpected EOF/);
  });
});

describe('changes of a container on the real kernel', function () {
  this.timeout(30_000);
  let fixture: RuntimeFixture;

  before(async () => {
    fixture = await RuntimeFixture.make();
  });
  afterEach(async () => {
    await fixture.removeAll();
    expect(fixture.errors.splice(0)).to.deep.equal([]);
  });
  after(() => fixture.end());

  async function changes(id: ContainerId): Promise<Change[]> {
    const upper = fixture.runtime.upperDir(id);
    return fixture.runtime.withRoot(id, 'own', (merged) =>
      fixture.runtime.withRoot(id, 'image', async (image) => changesOf({ upper, image, merged })),
    );
  }

  it('tells what was added, changed and deleted, also in a folder made anew', async () => {
    const config = fixture.shell(
      'echo x > /data/file; rm /data/inner/deep; mkdir /new; echo y > /new/y; rm -r /home; mkdir /home',
    );
    await fixture.result(config);
    expect(await changes(config.id)).to.deep.equal([
      { Path: '/data', Kind: 0 },
      { Path: '/data/file', Kind: 0 },
      { Path: '/data/inner', Kind: 0 },
      { Path: '/data/inner/deep', Kind: 2 },
      { Path: '/home', Kind: 0 },
      { Path: '/home/ana', Kind: 2 },
      { Path: '/new', Kind: 1 },
      { Path: '/new/y', Kind: 1 },
    ]);
  });

  it('tells of nothing where nothing happened', async () => {
    const config = fixture.shell('true');
    await fixture.result(config);
    expect(await changes(config.id)).to.deep.equal([]);
  });

  it('shows the files of one that runs and of one that does not, and removes what a killed agent left', async () => {
    const id = await fixture.start(fixture.shell('echo now > /tmp/note; sleep 60'));
    const note = (): Promise<string> =>
      fixture.runtime.withRoot(id, 'whole', async (root) => {
        const tar = await packed(root, '/tmp/note', 'note');
        return (await listed(tar))[0]?.[2] ?? '';
      });
    await eventually('the note', async () => (await note()) === 'now\n');
    await fixture.runtime.stop(id, { graceMs: 0 });
    expect(await note()).to.equal('now\n');
    // An agent that dies in the middle leaves the held process; the next one ends it before it does anything else.
    let release: () => void = () => undefined;
    const inUse = new Promise<void>((resolve) => {
      void fixture.runtime.withRoot(id, 'whole', async () => {
        resolve();
        await new Promise<void>((done) => (release = done));
      });
    });
    await inUse;
    await fixture.restart();
    release();
    await fixture.runtime.run(id);
    expect(fixture.runtime.get(id)?.phase).to.equal('running');
  });
});
