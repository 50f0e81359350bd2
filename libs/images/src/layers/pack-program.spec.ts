import { expect } from 'chai';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { readArchive } from '../archive/tar-reader.js';
import { tar, type TarEntry } from '../fixtures/tar-builder.js';
import { testFolder } from '../fixtures/test-folder.js';
import { defaultUnpackProgram, lookUp, packLayer, readTree, writeLayer } from './unpack-program.js';

const program = defaultUnpackProgram();

describe('a folder as a layer', function () {
  before(function () {
    // Device nodes and the attributes of overlays are the superuser's to make.
    if (process.getuid?.() !== 0) this.skip();
  });
  let folder: ReturnType<typeof testFolder>;
  let layers = 0;
  beforeEach(() => {
    folder = testFolder();
  });
  afterEach(() => folder.remove());

  async function unpack(entries: readonly TarEntry[] | Buffer): Promise<string> {
    const path = join(folder.path, `layer-${++layers}`);
    mkdirSync(path);
    const bytes = Buffer.isBuffer(entries) ? entries : tar(entries);
    await writeLayer(program, path, Readable.from([bytes]), { what: 'a layer', bytesMax: 2 ** 30 });
    return join(path, 'fs');
  }
  const packed = (path: string): Promise<Buffer> => buffer(Readable.from(packLayer(program, path)));
  async function namesIn(archive: AsyncIterable<Buffer>): Promise<string[]> {
    const names: string[] = [];
    for await (const { name, type, link } of readArchive(archive))
      names.push(link === '' ? `${name} ${type}` : `${name} ${type} ${link}`);
    return names;
  }

  it('comes back the same, whatever is in it, and always as the same bytes', async () => {
    const capability = Buffer.from('0000000200040000000000000000000000000000', 'hex');
    const long = `${'long'.repeat(40)}/${'name'.repeat(30)}`;
    const fs = await unpack([
      { name: 'b', content: 'two', mode: 0o4755, uid: 3_000_000, gid: 7, mtime: 5 },
      {
        name: 'a',
        content: 'one',
        pax: { 'SCHILY.xattr.user.note': 'a note', 'SCHILY.xattr.security.capability': capability },
      },
      { name: 'hard', type: '1', link: 'b' },
      { name: 'x', content: 'y', pax: { path: long } },
      { name: 'link', type: '2', link: '/somewhere/else' },
      { name: 'tty', type: '3', device: [5, 1], mode: 0o620 },
      { name: 'pipe', type: '6' },
      { name: 'gone/', type: '5' },
      { name: 'gone/.wh.file' },
      { name: 'opaque/', type: '5' },
      { name: 'opaque/.wh..wh..opq' },
      { name: 'opaque/new', content: 'n' },
      { name: 'ümläut', content: 'u' },
    ]);
    const first = await packed(fs);
    expect(await namesIn(Readable.from([first]))).to.deep.equal([
      'a file',
      'b file',
      'gone/ folder',
      'gone/.wh.file file',
      'hard link b',
      'link symlink /somewhere/else',
      `${long.split('/')[0]}/ folder`,
      `${long} file`,
      'opaque/ folder',
      'opaque/.wh..wh..opq file',
      'opaque/new file',
      'pipe fifo',
      'tty character',
      'ümläut file',
    ]);
    expect((await packed(fs)).equals(first)).to.equal(true);
    expect((await packed(await unpack(first))).equals(first)).to.equal(true);
  });

  it('leaves out the places where every container has something mounted, and sockets', async () => {
    const path = join(folder.path, 'upper');
    for (const name of ['etc', 'dev/pts', 'dev/shm', 'proc', 'sys', 'srv'])
      mkdirSync(join(path, name), { recursive: true });
    for (const name of ['etc/hosts', 'etc/hostname', 'etc/resolv.conf', 'dev/console', '.dockerenv'])
      writeFileSync(join(path, name), '');
    writeFileSync(join(path, 'etc/own'), 'x');
    execFileSync(process.execPath, [
      '-e',
      `require('net').createServer().listen(process.argv[1], () => process.exit())`,
      join(path, 'srv/socket'),
    ]);
    expect(await namesIn(packLayer(program, path))).to.deep.equal([
      'etc/ folder',
      'etc/own file',
      'srv/ folder',
    ]);
  });

  it('leaves out an etc that was made for mounts alone, and no other', async () => {
    const path = join(folder.path, 'image-without-etc');
    mkdirSync(join(path, 'etc'), { recursive: true });
    for (const name of ['hosts', 'hostname', 'resolv.conf']) writeFileSync(join(path, 'etc', name), '');
    expect((await packed(path)).every((byte) => byte === 0)).to.equal(true);
    chmodSync(join(path, 'etc'), 0o700);
    expect(await namesIn(packLayer(program, path))).to.deep.equal(['etc/ folder']);
  });

  it('runs without the descriptors that its starter inherited', () => {
    // Node keeps the low ones it was given from its children, and no other.
    const inherited = 40;
    const script = `
      const { readdirSync, readlinkSync } = require('node:fs');
      const { spawn } = require('node:child_process');
      const child = spawn(process.argv[1], ['layer', process.argv[2], '1000'], { stdio: ['pipe', 'ignore', 'ignore'] });
      const folder = '/proc/' + child.pid + '/fd/';
      const look = () => {
        const names = readdirSync(folder);
        // The folder it writes to is the sign that it has begun.
        if (!names.some((name) => readlinkSync(folder + name).endsWith('/fs'))) return setTimeout(look, 5);
        console.log(names.includes('${inherited}') ? 'inherited' : 'clean');
        child.kill('SIGKILL');
      };
      look();`;
    const target = join(folder.path, 'descriptors');
    mkdirSync(target);
    const nobody = openSync('/dev/null', 'r');
    const { stdout } = spawnSync(process.execPath, ['-e', script, program, target], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit', ...Array<'ignore'>(inherited - 3).fill('ignore'), nobody],
    });
    closeSync(nobody);
    expect(stdout).to.equal('clean\n');
  });

  it('packs trees that are deeper than a stack of descriptors is by default', async () => {
    const path = join(folder.path, 'deep');
    mkdirSync(path);
    const deep = Array.from({ length: 1500 }, () => 'd').join('/');
    mkdirSync(join(path, deep), { recursive: true });
    expect((await namesIn(packLayer(program, path))).length).to.equal(1500);
  });

  it('reads merged layers as a container sees them', async () => {
    const lower = await unpack([
      { name: 'etc/', type: '5', mode: 0o700, uid: 1, gid: 2, mtime: 3 },
      { name: 'etc/a', content: 'lower' },
      { name: 'etc/b', content: 'b' },
      { name: 'etc/gone', content: 'g' },
      { name: 'to-etc', type: '2', link: '../../../etc' },
      { name: 'loop', type: '2', link: 'loop' },
      { name: 'sh', type: '2', link: 'etc/b' },
    ]);
    const upper = await unpack([
      { name: 'etc/', type: '5', mode: 0o711, mtime: 4 },
      { name: 'etc/a', content: 'upper' },
      { name: 'etc/.wh.gone' },
    ]);
    const merged = [upper, lower];
    const texts: string[] = [];
    for await (const { name, content } of readArchive(readTree(program, merged, '/to-etc')))
      texts.push(`${name} ${(await buffer(Readable.from(content))).toString()}`);
    expect(texts).to.deep.equal(['a upper', 'b b']);
    expect(await namesIn(readTree(program, merged, 'sh'))).to.deep.equal(['b file']);
    const folderOf = { path: 'etc', type: 'folder', mode: 0o711, uid: 0, gid: 0, mtimeSeconds: 4 };
    const [found, missing, root] = await lookUp(program, merged, [
      '/to-etc/../etc/b',
      'to-etc/no/where',
      '/',
    ]);
    expect(found).to.deep.include({ path: 'etc/b' });
    expect(found?.existing.map(({ path, type }) => [path, type])).to.deep.equal([
      ['etc', 'folder'],
      ['etc/b', 'file'],
    ]);
    expect(missing).to.deep.equal({ path: 'etc/no/where', existing: [folderOf] });
    expect(root).to.deep.equal({ path: '', existing: [] });
    for (const [path, message] of [
      ['loop', /leads in circles/],
      ['etc/gone', /does not exist/],
    ] as const) {
      const words = await namesIn(readTree(program, merged, path)).catch((error: Error) => error.message);
      expect(words).to.match(message);
    }
  });

  it('says nothing of what a link in an upper folder points to', async () => {
    const path = join(folder.path, 'upper');
    mkdirSync(path);
    symlinkSync('/etc', join(path, 'etc'));
    writeFileSync(join(path, 'f'), 'x');
    linkSync(join(path, 'f'), join(path, 'g'));
    chmodSync(join(path, 'f'), 0o640);
    chownSync(join(path, 'f'), 12, 13);
    utimesSync(join(path, 'f'), 1, 1);
    expect(await namesIn(packLayer(program, path))).to.deep.equal(['etc symlink /etc', 'f file', 'g link f']);
  });
});
