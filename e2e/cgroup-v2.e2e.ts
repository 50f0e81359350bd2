/**
 * The container tests once more on a kernel that has cgroup v2 and nothing else: Debian's, booted under emulation with
 * the very same build of launcher, library and spec files.
 */
import { expect } from 'chai';
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bootMachine } from './virtual-machine/boot.js';
import { npmPackageFiles, packInitramfs } from './virtual-machine/initramfs.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const kernelLink = join(root, 'build/tools/bin/vmlinuz-cloud');
const bootTimeoutMs = 480_000;

/** Every spec that touches a cgroup or starts a container. */
const specs = [
  'cgroup/cgroup.spec.js',
  'limits.spec.js',
  'container-runtime.spec.js',
  'container/lifecycle.spec.js',
  'launcher/launcher.spec.js',
  'launcher/shim.spec.js',
];

/** What mocha's json-stream reporter says of one test. */
type Report = ['pass' | 'fail', { fullTitle: string; err?: string; stack?: string }];

interface SpecRun {
  passed: string[];
  failed: string[];
}

function guestScript(): string {
  const node = realpathSync(process.execPath);
  const mocha = `${node} node_modules/mocha/bin/mocha.js --no-config --reporter json-stream --timeout 60000`;
  return `#!/bin/sh
exec > /dev/ttyS1 2>&1
echo "kernel $(uname -r)"
echo "controllers $(cat /sys/fs/cgroup/cgroup.controllers)"
echo "hierarchies $(grep -c ' - cgroup ' /proc/self/mountinfo)"
cd /enxame
${specs.map((spec) => `echo "spec ${spec}"; ${mocha} dist/libs/runtime/src/${spec}; echo "ended $?"`).join('\n')}
`;
}

describe('containers on cgroup v2 alone', function () {
  this.timeout(bootTimeoutMs + 10_000);
  const runs = new Map<string, SpecRun & { exitCode?: number }>();
  const facts: Record<string, string> = {};
  let folder: string;

  before(async function () {
    if (!existsSync(kernelLink)) {
      console.log('    skipped: no kernel to boot (set-up for tests brings one)');
      this.skip();
    }
    folder = mkdtempSync(join(tmpdir(), 'enxame-v2-'));
    const kernel = realpathSync(kernelLink);
    const version = basename(kernel).slice('vmlinuz-'.length);
    const modules = join(dirname(kernel), '../lib/modules', version, 'kernel');
    const initramfs = packInitramfs({
      folder,
      programs: [process.execPath, '/usr/bin/nsenter', '/usr/sbin/ip'],
      modules: [join(modules, 'fs/overlayfs/overlay.ko'), join(modules, 'drivers/net/veth.ko')],
      files: [
        ...[
          'package.json',
          'dist/libs/runtime',
          'dist/libs/model',
          'libs/runtime/native/build/enxame-launcher',
        ].map((path) => ({ from: join(root, path), to: join('/enxame', path) })),
        ...npmPackageFiles(root, ['mocha', 'chai']),
      ],
      script: guestScript(),
    });
    let current: (SpecRun & { exitCode?: number }) | undefined;
    await bootMachine({
      kernel,
      initramfs,
      memoryMegabytes: 2048,
      consoleFile: join(folder, 'console.log'),
      timeoutMs: bootTimeoutMs,
      onLine: (line) => {
        const [word = '', rest = ''] = line.split(/ (.*)/);
        if (word === 'spec') runs.set(rest, (current = { passed: [], failed: [] }));
        else if (word === 'ended' && current) current.exitCode = Number(rest);
        else if (line.startsWith('["pass",') || line.startsWith('["fail",')) note(JSON.parse(line) as Report);
        else if (!line.startsWith('["')) facts[word] = rest;
      },
    });
    function note([outcome, test]: Report): void {
      if (outcome === 'pass') current?.passed.push(test.fullTitle);
      else current?.failed.push(`${test.fullTitle}: ${test.err ?? ''}`);
    }
  });
  after(() => {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });

  it('boots a kernel with every controller that limits use, and no hierarchy of version 1', () => {
    expect(facts.controllers?.split(' ')).to.include.members(['cpu', 'cpuset', 'io', 'memory', 'pids']);
    expect(facts.hierarchies).to.equal('0');
  });

  for (const spec of specs) {
    it(`passes ${spec.replace('.spec.js', '')}`, () => {
      const run = runs.get(spec);
      expect(run?.failed).to.deep.equal([]);
      expect(run?.exitCode, 'exit code of mocha; what it said is in the facts').to.equal(0);
      // As many as the file has, but for those that are about version 1.
      const source = readFileSync(join(root, 'libs/runtime/src', spec.replace('.js', '.ts')), 'utf8');
      const written = source.match(/^\s+it\(/gm)?.length ?? 0;
      expect(run?.passed.length).to.be.greaterThan(written * 0.8);
      console.log(`      ${run?.passed.length} tests of ${spec} on ${facts.kernel}`);
    });
  }
});
