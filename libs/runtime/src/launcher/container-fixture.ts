/**
 * For the tests of this folder: a real launcher in a network namespace of its own, and plans of a small container whose
 * root is Debian's static busybox. Everything lives in one temporary folder and one cgroup, and is gone afterwards.
 */
import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, rmdir, symlink } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { createLauncherClient, type LauncherClient } from './client.js';
import type { ExecPlan, LaunchOperation, LaunchPlan } from './launch-plan.js';
import { createShimClient, type ShimClient } from './shim-client.js';

const run = promisify(execFile);

/** From dist/libs/runtime/src/launcher as from libs/runtime/src/launcher. */
function repositoryRoot(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'package.json'))) folder = join(folder, '..');
  return folder;
}

const binaryPath =
  process.env.ENXAME_LAUNCHER ?? join(repositoryRoot(), 'libs/runtime/native/build/enxame-launcher');

const cgroupRoots = ['memory', 'pids', 'cpu'].map((controller) => `/sys/fs/cgroup/${controller}`);

/** A cgroup v2 mount, wherever this machine has it. */
export const unifiedCgroupRoot = ['/sys/fs/cgroup/unified', '/sys/fs/cgroup'].find((path) =>
  existsSync(join(path, 'cgroup.controllers')),
);

export const hasV1 = cgroupRoots.every((path) => existsSync(join(path, 'cgroup.procs')));

export interface ContainerOptions {
  argv: readonly string[];
  tty?: boolean;
  stdin?: boolean;
  stdinOnce?: boolean;
  held?: boolean;
  log?: { fileBytesMax: number; filesMax: number };
  /** Put before pivot-root. */
  inside?: readonly LaunchOperation[];
  /** Put after pivot-root. */
  after?: readonly LaunchOperation[];
  /** Put first. */
  keeper?: readonly LaunchOperation[];
  environment?: readonly string[];
}

/** Waits until `probe` gives something. */
export async function eventually<T>(what: string, probe: () => Promise<T | undefined | false>): Promise<T> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > deadline) throw new Error(`never: ${what}`);
    await delay(10);
  }
}

export class Fixture {
  readonly client: LauncherClient;
  readonly netns: string;
  private count = 0;

  private constructor(readonly folder: string) {
    this.netns = `enxame-t${process.pid}`;
    this.client = this.newClient();
  }

  static async make(): Promise<Fixture> {
    const fixture = new Fixture(await mkdtemp('/tmp/enxame-launcher-'));
    const layer = join(fixture.folder, 'layer');
    for (const name of ['bin', 'etc', 'proc', 'sys', 'dev', 'tmp', 'root']) {
      await mkdir(join(layer, name), { recursive: true });
    }
    await copyFile('/bin/busybox', join(layer, 'bin/busybox'));
    const { stdout } = await run('/bin/busybox', ['--list']);
    for (const applet of stdout.trim().split('\n')) {
      if (applet !== 'busybox') await symlink('busybox', join(layer, 'bin', applet));
    }
    await run('ip', ['netns', 'add', fixture.netns]);
    await run('ip', ['-n', fixture.netns, 'link', 'set', 'lo', 'up']);
    return fixture;
  }

  newClient(): LauncherClient {
    return createLauncherClient({
      binaryPath,
      socketPath: join(this.folder, 'launcher.sock'),
      logPath: join(this.folder, 'launcher.log'),
      /* Not `ip netns exec`, which mounts a /sys of its own, without cgroups. */
      commandPrefix: ['nsenter', `--net=/run/netns/${this.netns}`],
    });
  }

  get layer(): string {
    return join(this.folder, 'layer');
  }

  get cgroupName(): string {
    return `enxame-test-${process.pid}`;
  }

  path(id: string, name: string): string {
    return join(this.folder, id, name);
  }

  shim(id: string): ShimClient {
    return createShimClient({ socketPath: this.path(id, 's'), exitPath: this.path(id, 'exit.json') });
  }

  async plan(options: ContainerOptions): Promise<LaunchPlan> {
    const id = `c${++this.count}`;
    for (const name of ['upper', 'work', 'root']) await mkdir(this.path(id, name), { recursive: true });
    const operations: LaunchOperation[] = [
      ...(options.keeper ?? []),
      { kind: 'namespaces', pid: true, network: true, ipc: true, mount: true, uts: true, cgroup: true },
      {
        kind: 'stdio',
        tty: options.tty ?? false,
        stdin: options.stdin ?? false,
        stdinOnce: options.stdinOnce ?? false,
        rows: 24,
        columns: 80,
      },
      { kind: 'log', path: this.path(id, 'log'), ...(options.log ?? { fileBytesMax: 1 << 20, filesMax: 3 }) },
      { kind: 'root-propagation', propagation: 'private' },
      {
        kind: 'overlay-root',
        lowerDirs: [this.layer],
        upperDir: this.path(id, 'upper'),
        workDir: this.path(id, 'work'),
        mountPoint: this.path(id, 'root'),
        options: [],
      },
      ...baseMounts,
      ...(options.inside ?? []),
      ...(options.tty === true ? [{ kind: 'console' } as const] : []),
      { kind: 'pivot-root', readOnly: false },
      { kind: 'hostname', name: id, domainName: '' },
      { kind: 'loopback' },
      ...(options.after ?? []),
      { kind: 'environment', variables: options.environment ?? ['PATH=/bin', 'TERM=xterm'] },
      { kind: 'workdir', path: '/', create: false },
      { kind: 'exec', argv: options.argv },
    ];
    return {
      id,
      shim: {
        socketPath: this.path(id, 's'),
        exitPath: this.path(id, 'exit.json'),
        held: options.held ?? false,
      },
      operations,
    };
  }

  /** Launches, and fails the test when that fails. */
  async launch(options: ContainerOptions): Promise<{ id: string; pid: number; shim: ShimClient }> {
    const plan = await this.plan(options);
    const outcome = await this.client.launch(plan);
    if (!outcome.ok) throw new Error(outcome.message);
    return { id: plan.id, pid: outcome.pid, shim: this.shim(plan.id) };
  }

  /** Runs to the end: its exit and everything it wrote to stdout. */
  async runToEnd(options: ContainerOptions): Promise<{ exitCode: number; output: string; id: string }> {
    const { id, shim } = await this.launch(options);
    const exit = await shim.wait();
    return {
      exitCode: exit.exitCode,
      output: (await this.log(id))
        .filter((line) => line.stream === 'stdout')
        .map((line) => line.log)
        .join(''),
      id,
    };
  }

  async log(id: string): Promise<{ log: string; stream: string; time: string }[]> {
    const text = await readFile(this.path(id, 'log'), 'utf8');
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as { log: string; stream: string; time: string });
  }

  execPlan(
    argv: readonly string[],
    options: Partial<ExecPlan> & { tty?: boolean; stdin?: boolean } = {},
  ): ExecPlan {
    return {
      killOnDisconnect: options.killOnDisconnect ?? false,
      operations: [
        { kind: 'namespaces', pid: true, network: true, ipc: true, mount: true, uts: true, cgroup: true },
        {
          kind: 'stdio',
          tty: options.tty ?? false,
          stdin: options.stdin ?? false,
          stdinOnce: true,
          rows: 24,
          columns: 80,
        },
        ...(options.operations ?? []),
        { kind: 'environment', variables: ['PATH=/bin', 'TERM=xterm'] },
        { kind: 'workdir', path: '/', create: false },
        { kind: 'exec', argv },
      ],
    };
  }

  cgroup(controller: string, id: string): string {
    return `/sys/fs/cgroup/${controller}/${this.cgroupName}/${id}`;
  }

  async ip(...args: string[]): Promise<string> {
    return (await run('ip', ['-n', this.netns, ...args])).stdout;
  }

  /** Kills whatever still runs, and leaves nothing behind. */
  async remove(): Promise<void> {
    for (const name of await readdir(this.folder)) {
      const status = existsSync(this.path(name, 's'))
        ? await this.shim(name).status()
        : { phase: 'gone' as const };
      if (status.phase === 'gone' || status.phase === 'exited') continue;
      await this.shim(name).signal(9);
      await this.shim(name).wait();
    }
    await this.newClient().shutdown();
    this.client.close();
    await run('ip', ['netns', 'del', this.netns]);
    for (const root of [...cgroupRoots, ...(unifiedCgroupRoot === undefined ? [] : [unifiedCgroupRoot])]) {
      await removeCgroup(join(root, this.cgroupName));
    }
    await rm(this.folder, { recursive: true, force: true });
  }
}

async function removeCgroup(path: string): Promise<void> {
  if (!existsSync(path)) return;
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory()) await removeCgroup(join(path, entry.name));
  }
  await eventually(`cgroup ${path} is empty`, () =>
    rmdir(path).then(
      () => true,
      () => false,
    ),
  );
}

const baseMounts: readonly LaunchOperation[] = [
  {
    kind: 'mount',
    type: 'proc',
    source: 'proc',
    target: '/proc',
    flags: ['nosuid', 'noexec', 'nodev'],
    options: [],
  },
  {
    kind: 'mount',
    type: 'tmpfs',
    source: 'tmpfs',
    target: '/dev',
    flags: ['nosuid', 'strictatime'],
    options: ['mode=755', 'size=65536k'],
  },
  {
    kind: 'mount',
    type: 'devpts',
    source: 'devpts',
    target: '/dev/pts',
    flags: ['nosuid', 'noexec'],
    options: ['newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
  },
  {
    kind: 'mount',
    type: 'sysfs',
    source: 'sysfs',
    target: '/sys',
    flags: ['nosuid', 'noexec', 'nodev', 'read-only'],
    options: [],
  },
  { kind: 'mount', type: 'mqueue', source: 'mqueue', target: '/dev/mqueue', flags: ['nosuid'], options: [] },
  {
    kind: 'mount',
    type: 'tmpfs',
    source: 'shm',
    target: '/dev/shm',
    flags: ['nosuid'],
    options: ['mode=1777'],
  },
  { kind: 'device', path: '/dev/null', type: 'character', major: 1, minor: 3, mode: 0o666, uid: 0, gid: 0 },
  { kind: 'device', path: '/dev/zero', type: 'character', major: 1, minor: 5, mode: 0o666, uid: 0, gid: 0 },
  { kind: 'symlink', path: '/dev/ptmx', target: 'pts/ptmx' },
  { kind: 'symlink', path: '/dev/stdout', target: '/proc/self/fd/1' },
];
