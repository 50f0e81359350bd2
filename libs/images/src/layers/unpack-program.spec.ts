import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { gunzipSync, gzipSync } from 'node:zlib';
import { digestOf } from '../content/content-store.js';
import { tar, tarMember, type TarEntry } from '../fixtures/tar-builder.js';
import { testFolder } from '../fixtures/test-folder.js';
import { Growth } from './growth.js';
import { defaultUnpackProgram, removeTree, writeLayer } from './unpack-program.js';

const usual = defaultUnpackProgram();
const sanitized = join(dirname(usual), 'enxame-unpack-sanitized');
const program = existsSync(sanitized) ? sanitized : usual;

describe('enxame-unpack', () => {
  let folder: ReturnType<typeof testFolder>;
  let target: string;
  let root: string;

  beforeEach(() => {
    folder = testFolder();
    target = join(folder.path, 'layer');
    root = join(target, 'fs');
    mkdirSync(target);
    writeFileSync(join(folder.path, 'outside'), 'untouched');
  });
  afterEach(() => folder.remove());

  const unpackBytes = (bytes: Buffer): Promise<{ sizeBytes: number }> =>
    writeLayer(program, target, Readable.from([bytes]), { what: 'the layer', bytesMax: 2 ** 40 });
  const unpack = (entries: TarEntry[]): Promise<{ sizeBytes: number }> => unpackBytes(tar(entries));

  async function refusal(work: Promise<unknown>): Promise<string> {
    try {
      await work;
    } catch (error) {
      if (error instanceof Error) return error.message;
    }
    throw new Error('it was not refused');
  }

  /** One line a file: type, mode, owner, content or target. */
  function listing(dir = root, prefix = ''): string[] {
    return readdirSync(dir)
      .toSorted()
      .flatMap((name) => {
        const path = join(dir, name);
        const status = lstatSync(path);
        const mode = (status.mode & 0o7777).toString(8);
        const owner = `${status.uid}:${status.gid}`;
        const line = `${prefix}${name} ${mode} ${owner}`;
        if (status.isDirectory()) return [`${line}/`, ...listing(path, `${prefix}${name}/`)];
        if (status.isSymbolicLink()) return [`${prefix}${name} -> ${readlinkSync(path)}`];
        if (status.isCharacterDevice()) return [`${line} c${status.rdev}`];
        if (status.isFIFO()) return [`${line} p`];
        return [`${line} ${readFileSync(path, 'utf8')}`];
      });
  }

  it('writes every kind of file with mode, owner and time', async () => {
    const { sizeBytes } = await unpack([
      { name: './', type: '5', mode: 0o750 },
      { name: 'd/', type: '5', mode: 0o1777, mtime: 978_307_200 },
      { name: 'd/file', content: 'hello', mode: 0o4755, uid: 1000, gid: 100_000 },
      { name: 'd/hard', type: '1', link: 'd/file' },
      { name: 'd/soft', type: '2', link: '../../../etc/passwd' },
      { name: 'd/null', type: '3', mode: 0o666, device: [1, 3] },
      { name: 'd/pipe', type: '6', mode: 0o600 },
      { name: 'no/parent/named', content: 'x' },
    ]);
    expect(sizeBytes).to.equal(6);
    expect(listing()).to.deep.equal([
      'd 1777 0:0/',
      'd/file 4755 1000:100000 hello',
      'd/hard 4755 1000:100000 hello',
      'd/null 666 0:0 c259',
      'd/pipe 600 0:0 p',
      'd/soft -> ../../../etc/passwd',
      'no 755 0:0/',
      'no/parent 755 0:0/',
      'no/parent/named 644 0:0 x',
    ]);
    expect(lstatSync(root).mode & 0o7777).to.equal(0o750);
    expect(lstatSync(join(root, 'd')).mtimeMs).to.equal(978_307_200_000);
    expect(lstatSync(join(root, 'd/file')).ino).to.equal(lstatSync(join(root, 'd/hard')).ino);
  });

  it('turns whiteouts into what overlayfs reads', async () => {
    await unpack([
      { name: 'd/', type: '5' },
      { name: 'd/.wh.gone' },
      { name: 'd/.wh..wh.plnk' },
      { name: 'o/', type: '5' },
      { name: 'o/.wh..wh..opq' },
      { name: '.wh.kept' },
      { name: 'kept', content: 'new' },
      { name: '.wh.folder' },
      { name: 'folder/inner', content: 'new' },
    ]);
    expect(listing()).to.deep.equal([
      'd 644 0:0/',
      'd/gone 0 0:0 c0',
      'folder 755 0:0/',
      'folder/inner 644 0:0 new',
      'kept 644 0:0 new',
      'o 644 0:0/',
    ]);
    // Two overlays show that it works: a folder that was replaced hides what it had below.
    const lower = join(folder.path, 'lower');
    for (const name of ['d/gone', 'd/stays', 'o/hidden', 'folder/hidden', 'kept']) {
      mkdirSync(dirname(join(lower, name)), { recursive: true });
      writeFileSync(join(lower, name), 'old');
    }
    const seen = execFileSync(
      'unshare',
      [
        '-m',
        'sh',
        '-c',
        `mount -t overlay overlay -o lowerdir=${root}:${lower} /mnt && cd /mnt && find . -type f | sort`,
      ],
      { encoding: 'utf8' },
    );
    expect(seen.trim().split('\n')).to.deep.equal(['./d/stays', './folder/inner', './kept']);
  });

  it('takes long names from pax and GNU headers, and later entries over earlier ones', async () => {
    const long = `${'n'.repeat(90)}/`.repeat(12) + 'end';
    await unpackBytes(
      Buffer.concat([
        tarMember({
          name: 'short',
          content: 'pax',
          pax: { path: `p/${long}`, mtime: '1.5', uid: '3000000' },
        }),
        tarMember({ name: '././@LongLink', type: 'L', content: `g/${long}\0` }),
        tarMember({ name: 'short', content: 'gnu' }),
        tarMember({ name: 'x', type: '5' }),
        tarMember({ name: 'x/deep', content: 'lost' }),
        tarMember({ name: 'x', content: 'file now' }),
        tar([]),
      ]),
    );
    expect(readFileSync(join(root, 'p', long), 'utf8')).to.equal('pax');
    expect(lstatSync(join(root, 'p', long)).uid).to.equal(3_000_000);
    expect(readFileSync(join(root, 'g', long), 'utf8')).to.equal('gnu');
    expect(readFileSync(join(root, 'x'), 'utf8')).to.equal('file now');
  });

  it('keeps file capabilities and drops attributes that overlayfs would obey', async () => {
    // cap_net_raw+ep in the kernel's version 2 format.
    const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
    const overlay = 'SCHILY.xattr.trusted.overlay';
    await unpack([
      { name: 'ping', content: 'x', mode: 0o755, pax: { 'SCHILY.xattr.security.capability': capability } },
      { name: 'd', type: '5', pax: { [`${overlay}.redirect`]: '/etc', [`${overlay}.opaque`]: 'y' } },
    ]);
    expect(execFileSync('getcap', [join(root, 'ping')], { encoding: 'utf8' })).to.contain('cap_net_raw=ep');
    const attributes = execFileSync(
      'python3',
      ['-c', 'import os,sys; print(os.listxattr(sys.argv[1]))', join(root, 'd')],
      { encoding: 'utf8' },
    );
    expect(attributes.trim()).to.equal('[]');
  });

  describe('keeps a hostile archive inside', () => {
    const stories: [what: string, entries: TarEntry[], inside: string[]][] = [
      ['an absolute name', [{ name: '/outside', content: 'in' }], ['outside 644 0:0 in']],
      [
        'a link to the root of the host as a parent',
        [
          { name: 'l', type: '2', link: '/' },
          { name: 'l/etc/evil', content: 'in' },
        ],
        ['etc 755 0:0/', 'etc/evil 644 0:0 in', 'l -> /'],
      ],
      [
        'a link that climbs as a parent',
        [
          { name: 'd/', type: '5' },
          { name: 'd/l', type: '2', link: '../../../..' },
          { name: 'd/l/outside', content: 'in' },
        ],
        ['d 644 0:0/', 'd/l -> ../../../..', 'outside 644 0:0 in'],
      ],
      [
        'a file in place of a link to the outside',
        [
          { name: 'l', type: '2', link: '../../outside' },
          { name: 'l', content: 'in' },
        ],
        ['l 644 0:0 in'],
      ],
      [
        'a folder in place of a link to the outside',
        [
          { name: 'l', type: '2', link: '/etc' },
          { name: 'l', type: '5' },
          { name: 'l/passwd', content: 'in' },
        ],
        ['l 644 0:0/', 'l/passwd 644 0:0 in'],
      ],
      ['a name that climbs and comes back', [{ name: 'a/b/../../c', content: 'in' }], ['c 644 0:0 in']],
      [
        'a hard link to a link to the outside',
        [
          { name: 'l', type: '2', link: '/etc/passwd' },
          { name: 'h', type: '1', link: 'l' },
        ],
        ['h -> /etc/passwd', 'l -> /etc/passwd'],
      ],
    ];
    for (const [what, entries, inside] of stories) {
      it(what, async () => {
        await unpack(entries);
        expect(listing()).to.deep.equal(inside);
        expect(readFileSync(join(folder.path, 'outside'), 'utf8')).to.equal('untouched');
        expect(existsSync('/etc/evil')).to.equal(false);
      });
    }
  });

  describe('refuses', () => {
    const stories: [what: string, archive: Buffer, words: string][] = [
      ['a name that climbs', tar([{ name: '../outside', content: 'x' }]), 'leaves the image'],
      ['a name that climbs later', tar([{ name: 'a/../../outside', content: 'x' }]), 'leaves the image'],
      [
        'a hard link to a file of the host',
        tar([{ name: 'h', type: '1', link: '/etc/passwd' }]),
        'names a file that is not in the layer',
      ],
      [
        'a hard link through a link to the host',
        tar([
          { name: 'l', type: '2', link: '/etc' },
          { name: 'h', type: '1', link: 'l/passwd' },
        ]),
        'names a file that is not in the layer',
      ],
      ['a hard link that climbs', tar([{ name: 'h', type: '1', link: '../../outside' }]), 'leaves the image'],
      ['a link to itself', tar([{ name: 'h', type: '1', link: './h' }]), 'link to itself'],
      ['a forged whiteout device', tar([{ name: 'c', type: '3', device: [0, 0] }]), 'device 0:0'],
      ['a whiteout of nothing', tar([{ name: '.wh...' }]), 'hides no name'],
      [
        'a file as a folder',
        tar([
          { name: 'f', content: 'x' },
          { name: 'f/g', content: 'x' },
        ]),
        'used as a folder',
      ],
      ['a file in place of the root', tar([{ name: '.', content: 'x' }]), 'root of the image'],
      ['an unknown type', tar([{ name: 'x', type: 'Z' }]), "type 'Z'"],
      [
        'an archive cut in a file',
        tar([{ name: 'f', content: 'x'.repeat(5000) }]).subarray(0, 2000),
        'ends in the middle of "f"',
      ],
      ['an archive cut in a header', tar([{ name: 'f' }]).subarray(0, 100), 'ends in the middle'],
      ['a wrong checksum', Buffer.from(tar([{ name: 'f' }])).fill('x', 0, 1), 'checksum'],
      ['no archive at all', Buffer.alloc(1024, 'x'), 'checksum'],
      ['a huge extended header', tarMember({ name: 'p', type: 'x', size: 2 ** 31 }), 'at most 1048576'],
      [
        'a malformed extended header',
        tarMember({ name: 'p', type: 'x', content: '99 a=b\n' }),
        'length is wrong',
      ],
      ['a negative size in pax', tar([{ name: 'f', pax: { size: '-1' } }]), 'not a number'],
      ['a name over the limit', tar([{ name: 'f', pax: { path: 'n'.repeat(5000) } }]), 'at most 4095'],
      ['control characters, without printing them', tar([{ name: 'f\x1b[2J', type: 'Z' }]), '"f?[2J"'],
    ];
    for (const [what, archive, words] of stories) {
      it(what, async () => {
        expect(await refusal(unpackBytes(archive))).to.contain(words);
        expect(readFileSync(join(folder.path, 'outside'), 'utf8')).to.equal('untouched');
      });
    }
  });

  it('survives any single changed byte', async function () {
    this.timeout(60_000);
    const archive = tar([
      { name: 'd/', type: '5' },
      { name: 'd/f', content: 'x', pax: { path: 'd/longer', 'SCHILY.xattr.user.a': 'b' } },
      { name: 'd/h', type: '1', link: 'd/longer' },
    ]);
    let seed = 12_345;
    for (let i = 0; i < 60; i++) {
      seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
      const changed = Buffer.from(archive);
      changed[seed % archive.length] = (seed >> 8) & 0xff;
      mkdirSync((target = join(folder.path, `fuzz-${i}`)));
      try {
        await unpackBytes(changed);
      } catch (error) {
        // A refusal is fine; a crash of the program is not.
        expect(String(error), `byte ${seed % archive.length}`).not.to.match(/SIG|Sanitizer|runtime error/);
      }
      expect(readdirSync(target).toSorted().slice(0, 1)).to.deep.equal(['fs']);
    }
    expect(readFileSync(join(folder.path, 'outside'), 'utf8')).to.equal('untouched');
  });

  it('follows a file that still grows, to the word that it is whole', async () => {
    const noise = randomBytes(600_000);
    const bytes = gzipSync(tar([{ name: 'noise', content: noise }]));
    const file = join(folder.path, 'blob');
    writeFileSync(file, '');
    const growth = new Growth();
    const descriptor = openSync(file, 'r');
    const unpacked = writeLayer(program, target, { descriptor, growth }, { what: 'it', bytesMax: 2 ** 40 });
    const deadlineMs = Date.now() + 10_000;
    const noiseBytes = (): number => statSync(join(root, 'noise'), { throwIfNoEntry: false })?.size ?? 0;
    for (let at = 0; at < bytes.length; at += 200_000) {
      const before = noiseBytes();
      appendFileSync(file, bytes.subarray(at, at + 200_000));
      growth.grown();
      while (noiseBytes() === before) {
        expect(Date.now(), `nothing was unpacked of what came at ${at}`).to.be.below(deadlineMs);
        await new Promise((fulfil) => setTimeout(fulfil, 2));
      }
    }
    growth.whole();
    const { diffId } = await unpacked;
    closeSync(descriptor);
    expect(diffId).to.equal(digestOf(gunzipSync(bytes)));
    expect(readFileSync(join(root, 'noise')).equals(noise)).to.equal(true);
  });

  it('refuses a file that has all bytes but is not said to be whole', async () => {
    const file = join(folder.path, 'blob');
    writeFileSync(file, tar([{ name: 'f', content: 'x' }]));
    const descriptor = openSync(file, 'r');
    const growth = Readable.from([Buffer.from('+')]) as AsyncIterable<Buffer>;
    const work = writeLayer(program, target, { descriptor, growth }, { what: 'it', bytesMax: 2 ** 40 });
    expect(await refusal(work)).to.equal('cannot unpack it: it did not arrive whole');
    closeSync(descriptor);
  });

  it('ends when the file will not become whole', async () => {
    const file = join(folder.path, 'blob');
    writeFileSync(file, tar([{ name: 'f', content: 'x' }]));
    const descriptor = openSync(file, 'r');
    const growth = new Growth();
    const work = writeLayer(program, target, { descriptor, growth }, { what: 'it', bytesMax: 2 ** 40 });
    growth.grown();
    growth.fail(new Error('the line was cut'));
    expect(await refusal(work)).to.equal('the line was cut');
    closeSync(descriptor);
  });

  it('takes an archive that ends without the padding of its last file', async () => {
    const whole = tar([{ name: 'f', content: 'x' }]);
    expect(await unpackBytes(whole.subarray(0, 513))).to.have.property('sizeBytes', 1);
    expect(listing()).to.deep.equal(['f 644 0:0 x']);
  });

  it('gives files the owner they have, in folders of another group, too', async () => {
    await unpack([
      { name: './', type: '5', mode: 0o2755, gid: 7 },
      { name: 'a', content: '' },
      { name: 'd/', type: '5', mode: 0o2755, gid: 8 },
      { name: 'd/b', content: '' },
      { name: 'd/c', content: '', uid: 5, gid: 8 },
    ]);
    expect(listing()).to.deep.equal(['a 644 0:0 ', 'd 2755 0:8/', 'd/b 644 0:0 ', 'd/c 644 5:8 ']);
  });

  it('writes 20,000 small files, and removes trees deeper than a path can be long', async function () {
    this.timeout(60_000);
    const entries = Array.from({ length: 20_000 }, (_, i) => ({ name: `d${i % 100}/f${i}`, content: 'x' }));
    await writeLayer(usual, target, Readable.from([tar(entries)]), { what: 'the layer', bytesMax: 2 ** 40 });
    expect(readdirSync(join(root, 'd7')).length).to.equal(200);
    await removeTree(usual, target);
    expect(existsSync(target)).to.equal(false);

    const deep = join(folder.path, 'deep');
    execFileSync('python3', [
      '-c',
      'import os,sys\nos.mkdir(sys.argv[1]); os.chdir(sys.argv[1])\nfor _ in range(3000): os.mkdir("folder"); os.chdir("folder")',
      deep,
    ]);
    await removeTree(usual, deep);
    expect(existsSync(deep)).to.equal(false);
    await removeTree(usual, deep);
  });
});
