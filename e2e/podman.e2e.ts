/** Debian's podman runs its containers with our runtime: as it runs them with crun, by the same command line. */
import { expect } from 'chai';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const tools = join(root, 'build/tools/podman');
const runtime = join(root, 'libs/runtime/native/build/enxame-runtime');
const image = 'localhost/busybox:1';

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

describe('podman with enxame-runtime', function () {
  this.timeout(120_000);
  let folder: string;
  let env: NodeJS.ProcessEnv;
  let line: string[];

  before(async function () {
    if (!existsSync(join(tools, 'usr/bin/podman'))) {
      console.log('      skipped: podman is not in build/tools');
      this.skip();
    }
    // podman syncs its database some thirty times for a container: on a disk that others use, that is all its time.
    folder = await mkdtemp('/dev/shm/enxame-podman-');
    await writeConfiguration();
    const archive = await makeRootArchive();
    const imported = await podman('import', archive, image);
    expect(imported.code, imported.stderr).to.equal(0);
  });

  after(async () => {
    if (folder === undefined) return;
    await podman('rm', '--all', '--force', '--time', '0');
    await podman('rmi', '--all', '--force');
    execFileSync('sh', ['-c', `umount -l "${folder}"/store/overlay 2>/dev/null; true`]);
    // What podman started to clean up after a container may still be at it.
    await rm(folder, { recursive: true, force: true, maxRetries: 20 });
  });

  async function writeConfiguration(): Promise<void> {
    const libraries = ['usr/lib', 'lib'].map((path) => join(tools, path, 'x86_64-linux-gnu')).join(':');
    const own = {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      LD_LIBRARY_PATH: libraries,
      CONTAINERS_CONF: join(folder, 'containers.conf'),
      CONTAINERS_STORAGE_CONF: join(folder, 'storage.conf'),
      CONTAINERS_REGISTRIES_CONF: join(folder, 'registries.conf'),
    };
    const files = {
      // What this machine's own user may have at most: some may not raise their limits.
      'containers.conf': [
        '[containers]',
        'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]',
        '[engine]',
        `conmon_path = ["${join(tools, 'usr/bin/conmon')}"]`,
        // conmon starts podman again at a container's end.
        `conmon_env_vars = ${JSON.stringify(Object.entries(own).map(([name, value]) => `${name}=${value}`))}`,
        '',
      ].join('\n'),
      'storage.conf': `[storage]\ndriver = "overlay"\nrunroot = "${folder}/run"\ngraphroot = "${folder}/store"\n`,
      'registries.conf': '',
    };
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
    env = { ...process.env, ...own };
    // podman forgets the flags of its runtime when it cleans up, so the place of its containers is in a program.
    const program = `#!/bin/sh\nexec ${runtime} --root ${folder}/containers "$@"\n`;
    await writeFile(join(folder, 'enxame-runtime'), program, { mode: 0o755 });
    const places = `--root ${folder}/store --runroot ${folder}/run --tmpdir ${folder}/tmp`;
    const ways = '--cgroup-manager cgroupfs --events-backend none --storage-driver overlay';
    line = `${places} ${ways} --runtime ${folder}/enxame-runtime`.split(' ');
  }

  async function makeRootArchive(): Promise<string> {
    const rootfs = join(folder, 'rootfs');
    await mkdir(join(rootfs, 'bin'), { recursive: true });
    await mkdir(join(rootfs, 'data'));
    await writeFile(join(rootfs, 'data/file'), 'of the image\n');
    await copyFile('/bin/busybox', join(rootfs, 'bin/busybox'));
    await chmod(join(rootfs, 'bin/busybox'), 0o755);
    for (const name of ['sh', 'cat', 'id', 'ls', 'sleep', 'tty', 'hostname', 'ps', 'echo', 'grep'])
      await symlink('busybox', join(rootfs, 'bin', name));
    const archive = join(folder, 'rootfs.tar');
    execFileSync('tar', ['-C', rootfs, '-cf', archive, '.']);
    return archive;
  }

  function podman(...args: string[]): Promise<Outcome> {
    return new Promise((resolve) => {
      execFile(
        join(tools, 'usr/bin/podman'),
        [...line, ...args],
        { env, encoding: 'utf8' },
        (error, stdout, stderr) => {
          resolve({
            code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1,
            stdout,
            stderr,
          });
        },
      );
    });
  }

  function run(...args: string[]): Promise<Outcome> {
    return podman('run', '--rm', '--network', 'none', ...args);
  }

  /** A terminal of its own around podman, as a user has. */
  function onTerminal(...args: string[]): Promise<string> {
    const quoted = [join(tools, 'usr/bin/podman'), ...line, ...args].map((word) => `'${word}'`).join(' ');
    return new Promise((resolve) => {
      const child = spawn('script', ['-qec', quoted, '/dev/null'], {
        env,
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      let text = '';
      child.stdout.on('data', (data: Buffer) => (text += data.toString()));
      child.on('exit', () => resolve(text));
    });
  }

  it('runs a program, with its input, output and exit code', async () => {
    const outcome = await run(image, 'sh', '-c', 'echo out; echo err >&2; exit 5');
    expect(outcome).to.deep.equal({ code: 5, stdout: 'out\n', stderr: 'err\n' });
    expect((await run(image, 'nothing-of-this-name')).code).to.equal(127);
    expect((await run(image, '/data')).code).to.equal(126);
  });

  it('gives it what is asked for: user, mounts, limits, rights, names, devices', async () => {
    const who =
      '--user 7:8 --cap-add NET_ADMIN --hostname h --memory 64m --pids-limit 50 --sysctl kernel.msgmax=100';
    const files = `--read-only --tmpfs /data --volume ${folder}/rootfs:/x:ro --device /dev/null:/dev/mine`;
    const outcome = await run(
      ...`${who} ${files} ${image} sh -c`.split(' '),
      'id -u; grep CapEff /proc/self/status; hostname; cat /data/file /proc/sys/kernel/msgmax; ls /x /dev/mine; cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; echo 2>/dev/null > /f || echo read-only',
    );
    expect(outcome.stdout.split('\n')).to.deep.equal([
      '7',
      'CapEff:\t0000000000001000',
      'h',
      'of the image',
      '100',
      '/dev/mine',
      '',
      '/x:',
      'bin',
      'data',
      '50',
      'read-only',
      '',
    ]);
  });

  it('keeps one in the background: logs, exec, terminals, ps, stats, pause, stop, start, kill', async () => {
    const script = 'trap "exit 3" TERM; echo up; while :; do sleep 0.05; done';
    const started = await podman(
      'run',
      '--detach',
      '--name',
      'long',
      '--network',
      'none',
      image,
      'sh',
      '-c',
      script,
    );
    expect(started.code, started.stderr).to.equal(0);
    expect(
      await podman('exec', '--user', '5', '--env', 'X=y', 'long', 'sh', '-c', 'id -u; echo $X; exit 4'),
    ).to.deep.include({
      code: 4,
      stdout: '5\ny\n',
    });
    expect(await onTerminal('exec', '-it', 'long', 'sh', '-c', 'tty; sleep 0.2')).to.include('/dev/pts/0');
    expect((await podman('top', 'long', 'pid', 'args')).stdout).to.include('trap "exit 3" TERM');
    expect((await podman('stats', '--no-stream', '--format', '{{.Name}} {{.PIDs}}', 'long')).stdout).to.match(
      /^long [12]/,
    );
    expect(await podman('pause', 'long')).to.deep.include({ code: 0, stderr: '' });
    expect((await podman('ps', '--all', '--format', '{{.Status}}')).stdout).to.include('Paused');
    expect(await podman('unpause', 'long')).to.deep.include({ code: 0, stderr: '' });
    expect(await podman('stop', '--time', '10', 'long')).to.deep.include({ code: 0, stderr: '' });
    expect((await podman('wait', 'long')).stdout).to.equal('3\n');
    expect((await podman('logs', 'long')).stdout).to.equal('up\n');
    expect(await podman('start', 'long')).to.deep.include({ code: 0, stderr: '' });
    expect((await podman('kill', 'long')).code).to.equal(0);
    expect((await podman('wait', 'long')).stdout).to.equal('137\n');
    expect((await podman('rm', 'long')).code).to.equal(0);
  });

  it('runs one on a terminal, one with all rights, and one in the namespaces of another', async () => {
    expect(
      await onTerminal('run', '--rm', '-it', '--network', 'none', image, 'sh', '-c', 'tty; sleep 0.3'),
    ).to.include('/dev/pts/0');
    const all = await run('--privileged', image, 'sh', '-c', 'grep CapBnd /proc/self/status; ls /dev/kmsg');
    expect(all.stdout).to.include('/dev/kmsg');
    const first = await podman(
      'run',
      '--detach',
      '--network',
      'none',
      '--ipc',
      'shareable',
      image,
      'sleep',
      '100',
    );
    const id = first.stdout.trim();
    const peer = await podman(
      'run',
      '--rm',
      '--network',
      `container:${id}`,
      '--pid',
      `container:${id}`,
      image,
      'ps',
    );
    expect(peer.stdout, peer.stderr).to.include('sleep 100');
    expect((await podman('rm', '--force', '--time', '0', id)).code).to.equal(0);
  });
});
