/**
 * What hostile images and containers have tried on other runtimes, tried on this one. Each test names the class; the
 * container is given what it would need, and the node must not have changed.
 */
import { expect } from 'chai';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isEnxameError } from '#libs/model';
import type { ContainerConfig } from './port.js';
import { eventually, launcherPath, RuntimeFixture } from './runtime-fixture.js';

describe('attacks on the runtime', function () {
  this.timeout(60_000);
  let fixture: RuntimeFixture;

  before(async () => {
    fixture = await RuntimeFixture.make();
  });
  afterEach(async () => {
    await fixture.removeAll();
    expect(fixture.errors.splice(0)).to.deep.equal([]);
  });
  after(() => fixture.end());

  /** A layer over the usual one, as an image would bring it. */
  async function hostileLayer(name: string, fill: (folder: string) => Promise<void>): Promise<string[]> {
    const folder = join(fixture.folder, name);
    await mkdir(folder);
    await fill(folder);
    return [folder, fixture.layer];
  }

  /** Runs it if it can be run at all; the words of the refusal otherwise. */
  async function attempt(config: ContainerConfig): Promise<string> {
    try {
      return (await fixture.result(config)).output;
    } catch (error) {
      if (!isEnxameError(error)) throw error;
      return `refused: ${error.message}`;
    }
  }

  /** Those that anything of this test could have made. */
  const mountsOfNode = (): string[] =>
    readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(fixture.folder))
      .sort();
  const digest = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

  it('the runtime itself cannot be overwritten through /proc/PID/exe (CVE-2019-5736)', async () => {
    const before = digest(launcherPath);
    const rootLayers = await hostileLayer('evil-exe', async (folder) => {
      await mkdir(join(folder, 'bin'));
      await writeFile(join(folder, 'bin/evil'), '#!/proc/self/exe\n', { mode: 0o755 });
    });
    const script = `
      try() { for exe in /proc/[0-9]*/exe; do
        case $(readlink $exe) in *enxame*|*memfd*) echo seen; (echo pwned > $exe) 2>/dev/null && echo wrote;
          (exec 3< $exe && echo pwned > /proc/self/fd/3) 2>/dev/null && echo wrote;; esac; done; }
      echo up; while [ ! -e /tmp/done ]; do try; done; echo over`;
    const id = await fixture.start(fixture.shell(script, { rootLayers }));
    await eventually('the attacker', async () => (await fixture.output(id)).includes('up'));
    // What runs then is a launcher inside the container, with the container's rights; it waits for clients.
    const evil = {
      argv: ['/bin/evil'],
      env: [],
      workdir: '',
      user: '',
      tty: false,
      attachStdin: false,
      privileged: false,
    };
    const session = await fixture.runtime.exec(id, evil);
    await eventually('its program is seen', async () => (await fixture.output(id)).includes('seen'));
    await session.kill('SIGKILL');
    await session.exited;
    await fixture.exec(id, ['/bin/touch', '/tmp/done']);
    await eventually('its end', async () => (await fixture.output(id)).includes('over'));
    expect(await fixture.output(id)).to.not.contain('wrote');
    expect(digest(launcherPath)).to.equal(before);
  });

  it('no descriptor of the node leaks, and none serves as a working folder (CVE-2024-21626)', async () => {
    const list = 'for fd in /proc/self/fd/*; do readlink $fd; done | grep -v -e pipe: -e /dev/null; true';
    expect(await attempt(fixture.shell(list))).to.match(/^(\/proc\/\d+\/fd\n)?$/);
    const id = await fixture.start(fixture.shell('sleep 60'));
    expect(await fixture.exec(id, ['/bin/sh', '-c', list])).to.match(/^(\/proc\/\d+\/fd\n)?\[0\]$/);
    for (let fd = 0; fd < 16; fd++) {
      for (const path of [`/proc/self/fd/${fd}`, `/proc/self/fd/${fd}/../../../../../..`]) {
        const output = await attempt(fixture.shell('/bin/ls ../../../../../../.. 2>&1', { workdir: path }));
        // Either it cannot be entered, or it is a folder of the container.
        expect(output, path).to.satisfy(
          (text: string) => text.startsWith('refused:') || text.includes('home'),
        );
        expect(output, path).to.not.contain(fixture.folder.split('/').at(-1) as string);
      }
    }
  });

  it('an image whose /dev, /proc and /sys point elsewhere mounts nothing there', async () => {
    const outside = join(fixture.folder, 'outside');
    await mkdir(outside);
    const before = mountsOfNode();
    for (const name of ['dev', 'proc', 'sys']) {
      const rootLayers = await hostileLayer(`evil-${name}`, async (folder) => {
        await symlink(`../../../../../../../..${outside}`, join(folder, name));
      });
      await attempt(fixture.shell(`echo x > /${name}/marker; true`, { rootLayers }));
      expect(readdirSync(outside), name).to.deep.equal([]);
    }
    expect(mountsOfNode()).to.deep.equal(before);
  });

  it('devices that an image brings are not the devices of the container (CVE-2025-31133)', async () => {
    const rootLayers = await hostileLayer('evil-null', async (folder) => {
      await mkdir(join(folder, 'dev'));
      await symlink('/proc/sys/kernel/core_pattern', join(folder, 'dev/null'));
      await symlink('/proc/self/mem', join(folder, 'dev/console'));
      await mkdir(join(folder, 'dev/pts'));
    });
    const output = await attempt(
      fixture.shell(
        'readlink /dev/null; cat /proc/interrupts | wc -c; (echo x > /proc/sys/kernel/core_pattern) 2>&1; cat /dev/null | wc -c',
        { rootLayers },
      ),
    );
    // No link to read; what is masked is empty; what is dangerous is read-only; null is null.
    expect(output).to.match(/^0\n[\s\S]*0\n$/);
    expect(output).to.match(/Read-only|denied|not permitted/);
  });

  it('a mount target that is swapped for a link while a container starts stays inside (CVE-2021-30465)', async () => {
    const volume = join(fixture.folder, 'shared-volume');
    const outside = join(fixture.folder, 'target-outside');
    for (const folder of [volume, outside, join(volume, 'real')]) await mkdir(folder);
    await symlink(`../../../../../../../..${outside}`, join(volume, 'link'));
    const before = mountsOfNode();
    // `target` is by turns a folder and a link out of the container, as fast as a shell can rename.
    const swapper = spawn('/bin/sh', [
      '-c',
      'cd "$0" && while true; do mv -T real target; mv -T target real; mv -T link target; mv -T target link; done',
      volume,
    ]);
    try {
      for (let round = 0; round < 25; round++) {
        await attempt(
          fixture.shell('echo x > /v/target/marker; true', {
            mounts: [
              { type: 'bind', source: volume, target: '/v', readOnly: false, recursive: true },
              { type: 'tmpfs', target: '/v/target', readOnly: false },
            ],
          }),
        );
      }
    } finally {
      swapper.kill('SIGKILL');
      await once(swapper, 'close');
    }
    expect(readdirSync(outside)).to.deep.equal([]);
    expect(mountsOfNode()).to.deep.equal(before);
  });

  it('keepers listen on no abstract socket, which a container on the node network could reach (CVE-2020-15257)', async () => {
    const network = { ...fixture.config({ argv: [] }).network, mode: 'host' as const };
    const output = await attempt(fixture.shell('grep -c "@" /proc/net/unix; true', { network }));
    expect(output).to.equal('0\n');
  });

  it('output without end fills no more than the log may have', async () => {
    const log = { fileBytesMax: 256 * 1024, filesMax: 3 };
    const config = fixture.shell('head -c 20m /dev/zero | tr "\\\\0" x | fold -w 80', { log });
    const { exitCode } = await fixture.result(config);
    expect(exitCode).to.equal(0);
    const folder = join(fixture.folder, 'state/containers', config.id);
    const logs = readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => /log(\.\d+)?$/.test(name))
      .map((name) => statSync(join(folder, name)).size);
    expect(logs.length).to.equal(3);
    // A line may be begun where there is room for its start only.
    for (const size of logs) expect(size).to.be.at.most(log.fileBytesMax + 1024);
  });

  it('a hundred thousand small files go with their container', async function () {
    this.timeout(240_000);
    const config = fixture.shell('mkdir /many && cd /many && seq 100000 | xargs touch && ls | wc -l');
    expect(await fixture.result(config)).to.deep.equal({ exitCode: 0, output: '100000\n' });
    await fixture.runtime.remove(config.id);
    expect(existsSync(join(fixture.folder, 'state/containers', config.id))).to.equal(false);
  });

  it('an environment of any size is refused in words, and the runtime goes on', async () => {
    for (const bytes of [200_000, 8_000_000]) {
      const config = fixture.shell('echo unexpected', { env: [`BIG=${'x'.repeat(bytes)}`] });
      const output = await attempt(config);
      expect(output, String(bytes)).to.match(
        /refused: .*(argument list too long|over the limit|too (long|large|big))/i,
      );
    }
    expect(await attempt(fixture.shell('echo well'))).to.equal('well\n');
  });

  it('a process of the container shows the node no way out through its own links', async () => {
    const id = await fixture.start(fixture.shell('sleep 60'));
    const pid = fixture.runtime.get(id)?.pid ?? 0;
    expect(readlinkSync(`/proc/${pid}/cwd`)).to.equal('/');
    const output = await fixture.exec(id, [
      '/bin/sh',
      '-c',
      'ls /proc/1/root/home; cd /proc/1/root/../../.. && ls -d home; chroot /proc/1/root /bin/ls -d /home',
    ]);
    expect(output).to.equal('ana\nhome\n/home\n[0]');
  });

  after(() => rm(join(fixture.folder, 'outside'), { recursive: true, force: true }));
});
