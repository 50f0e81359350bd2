import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { LayeredRoot } from './layered-root.js';

describe('a root made of layers', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync('/tmp/enxame-layers-');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const write = (path: string, text: string): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  };
  const link = (path: string, target: string): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    symlinkSync(target, join(folder, path));
  };
  const whiteout = (path: string): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    execFileSync('mknod', [join(folder, path), 'c', '0', '0']);
  };
  const root = (...layers: string[]): LayeredRoot =>
    new LayeredRoot(layers.map((layer) => join(folder, layer)));
  const read = (path: string, layers = ['top', 'base']): string | undefined =>
    root(...layers)
      .readFile(path, 1_000)
      ?.toString();

  it('reads the topmost file of a name, through merged folders', () => {
    write('base/etc/passwd', 'base');
    write('base/etc/group', 'group');
    write('top/etc/passwd', 'top');
    expect(read('/etc/passwd')).to.equal('top');
    expect(read('/etc/group')).to.equal('group');
    expect(read('/etc/none')).to.equal(undefined);
    expect(read('/etc')).to.equal(undefined);
  });

  it('does not see what a layer above has deleted or replaced', () => {
    write('base/etc/passwd', 'base');
    write('base/opt/a', 'a');
    write('base/var/x/y', 'y');
    whiteout('top/etc/passwd');
    whiteout('top/opt');
    write('top/var/x', 'a file now');
    expect(read('/etc/passwd')).to.equal(undefined);
    expect(read('/opt/a')).to.equal(undefined);
    expect(read('/var/x/y')).to.equal(undefined);
  });

  it('resolves links inside the root and never leaves it', () => {
    write('base/real/passwd', 'inside');
    link('top/etc', '/real');
    link('base/up/passwd', '../../../../../real/passwd');
    link('base/out', '../../../../../../etc/hostname');
    link('base/abs', '/etc/hostname');
    link('base/loop', 'loop');
    expect(read('/etc/passwd')).to.equal('inside');
    expect(read('/up/passwd')).to.equal('inside');
    expect(read('/out')).to.equal(undefined);
    expect(read('/abs')).to.equal(undefined);
    expect(read('/loop')).to.equal(undefined);
    expect(root('top', 'base').find('/etc')?.path).to.equal('/real');
    expect(root('top', 'base').find('/')?.path).to.equal('/');
  });

  it('reads no pipe, no device and nothing too long', () => {
    mkdirSync(join(folder, 'base'));
    execFileSync('mkfifo', [join(folder, 'base/pipe')]);
    write('base/long', 'x'.repeat(2_000));
    expect(read('/pipe', ['base'])).to.equal(undefined);
    expect(() => read('/long', ['base'])).to.throw('over 1000 bytes');
  });
});
