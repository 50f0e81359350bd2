/** For the conformance tests: runtimes as commands, a root file system of busybox, and bundles made of changes. */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, openSync, closeSync, readFileSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, rmdir, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

export type Json = Record<string, unknown>;

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

export interface State {
  ociVersion: string;
  id: string;
  status: string;
  pid: number;
  bundle: string;
  annotations?: Record<string, string>;
}

function repositoryRoot(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'package.json'))) folder = join(folder, '..');
  return folder;
}

const root = repositoryRoot();
const crunFolder = join(root, 'build/tools/crun');

export interface Runtime {
  name: string;
  command: readonly string[];
  env: NodeJS.ProcessEnv;
}

const own: Runtime = {
  name: 'enxame-runtime',
  command: [join(root, 'libs/runtime/native/build/enxame-runtime')],
  env: process.env,
};

/**
 * The peer that shows that the cases ask for what the specification says. On a machine with cgroup v1 controllers and
 * an idle cgroup2 beside them it wants not to see the latter.
 */
const crun: Runtime = {
  name: 'crun',
  command: [
    'unshare',
    '--mount',
    'sh',
    '-c',
    'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$0" "$@"',
    join(crunFolder, 'usr/bin/crun'),
  ],
  env: { ...process.env, LD_LIBRARY_PATH: join(crunFolder, 'usr/lib/x86_64-linux-gnu') },
};

export const runtimes: readonly Runtime[] = existsSync(join(crunFolder, 'usr/bin/crun'))
  ? [own, crun]
  : [own];

const capabilities = ['CAP_CHOWN', 'CAP_KILL', 'CAP_NET_BIND_SERVICE'];

export class Bench {
  readonly state: string;
  readonly cgroup: string;
  private count = 0;
  private readonly ids = new Set<string>();

  private constructor(
    readonly runtime: Runtime,
    readonly folder: string,
  ) {
    this.state = join(folder, 'state');
    this.cgroup = `enxame-conformance-${process.pid}`;
  }

  static async make(runtime: Runtime): Promise<Bench> {
    const bench = new Bench(runtime, await mkdtemp(join(tmpdir(), 'enxame-oci-')));
    const rootfs = join(bench.folder, 'rootfs');
    for (const name of ['bin', 'etc', 'tmp']) await mkdir(join(rootfs, name), { recursive: true });
    await copyFile('/bin/busybox', join(rootfs, 'bin/busybox'));
    const applets = execFileSync('/bin/busybox', ['--list'], { encoding: 'utf8' }).trim().split('\n');
    for (const applet of applets.filter((name) => name !== 'busybox'))
      await symlink('busybox', join(rootfs, 'bin', applet));
    return bench;
  }

  async close(): Promise<void> {
    for (const id of this.ids) await this.call('delete', '--force', id);
    await rm(this.folder, { recursive: true, force: true });
    for (const controller of ['', ...(await readdir('/sys/fs/cgroup'))])
      await rmdir(join('/sys/fs/cgroup', controller, this.cgroup)).catch(() => undefined);
  }

  call(...args: string[]): Promise<Outcome> {
    const [command = '', ...before] = this.runtime.command;
    const line = [...before, '--root', this.state, ...args];
    return new Promise((resolve) => {
      execFile(command, line, { env: this.runtime.env, encoding: 'utf8' }, (error, stdout, stderr) => {
        resolve({
          code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1,
          stdout,
          stderr,
        });
      });
    });
  }

  async bundle(change: { process?: Json; linux?: Json; root?: Json } & Json = {}): Promise<string> {
    const { process, linux, root: rootChange, ...rest } = change;
    const bundle = join(this.folder, `bundle-${++this.count}`);
    const mount = (destination: string, type: string, options: string[]): Json => ({
      destination,
      type,
      source: type,
      options,
    });
    const config = {
      ociVersion: '1.0.2',
      root: { path: join(this.folder, 'rootfs'), ...rootChange },
      hostname: 'conformance',
      process: {
        user: { uid: 0, gid: 0 },
        args: ['sleep', '100'],
        env: ['PATH=/bin'],
        cwd: '/',
        capabilities: Object.fromEntries(
          ['bounding', 'effective', 'permitted'].map((set) => [set, capabilities]),
        ),
        ...process,
      },
      mounts: [
        mount('/proc', 'proc', []),
        mount('/dev', 'tmpfs', ['nosuid', 'strictatime', 'mode=755', 'size=65536k']),
        mount('/dev/pts', 'devpts', [
          'nosuid',
          'noexec',
          'newinstance',
          'ptmxmode=0666',
          'mode=0620',
          'gid=5',
        ]),
      ],
      linux: {
        namespaces: ['pid', 'ipc', 'uts', 'mount', 'network'].map((type) => ({ type })),
        cgroupsPath: `/${this.cgroup}/${this.runtime.name}-${this.count}`,
        ...linux,
      },
      ...rest,
    };
    await mkdir(bundle);
    await writeFile(join(bundle, 'config.json'), JSON.stringify(config));
    return bundle;
  }

  newId(): string {
    const id = `${this.runtime.name}-${process.pid}-${++this.count}`;
    this.ids.add(id);
    return id;
  }

  /** A command whose output goes to a file: what it starts may keep it open. */
  spawn(file: string, args: readonly string[]): Promise<number> {
    const [command = '', ...before] = this.runtime.command;
    const output = openSync(file, 'a');
    const child = spawn(command, [...before, '--root', this.state, ...args], {
      env: this.runtime.env,
      stdio: ['ignore', output, output],
    });
    closeSync(output);
    return new Promise((resolve) => child.on('exit', (status) => resolve(status ?? -1)));
  }

  /** Creates it with its output in a file, and gives its id. */
  async create(bundle: string, options: string[] = []): Promise<{ id: string; outcome: Outcome }> {
    const id = this.newId();
    const file = join(bundle, 'output');
    const code = await this.spawn(file, ['create', ...options, '--bundle', bundle, id]);
    return { id, outcome: { code, stdout: '', stderr: code === 0 ? '' : readFileSync(file, 'utf8') } };
  }

  /** A container that runs until it is killed. */
  async running(change: Parameters<Bench['bundle']>[0] = {}): Promise<{ id: string; bundle: string }> {
    const bundle = await this.bundle(change);
    const { id, outcome } = await this.create(bundle);
    if (outcome.code !== 0) throw new Error(`create: ${outcome.stderr}`);
    const started = await this.call('start', id);
    if (started.code !== 0) throw new Error(`start: ${started.stderr}`);
    return { id, bundle };
  }

  /** What a shell script prints in a container made for it. */
  async print(script: string, change: Parameters<Bench['bundle']>[0] = {}): Promise<string> {
    const bundle = await this.bundle({
      ...change,
      process: { args: ['sh', '-c', script], ...change.process },
    });
    const { code, stdout, stderr } = await this.call('run', '--bundle', bundle, this.newId());
    if (code !== 0) throw new Error(`run ended with ${code}: ${stderr}${stdout}`);
    return stdout.trim();
  }

  async stateOf(id: string): Promise<State> {
    const { stdout, stderr } = await this.call('state', id);
    if (stdout === '') throw new Error(stderr);
    return JSON.parse(stdout) as State;
  }

  async until(id: string, status: string): Promise<void> {
    const deadline = Date.now() + 10_000;
    while ((await this.stateOf(id)).status !== status) {
      if (Date.now() > deadline) throw new Error(`never ${status}`);
      await delay(20);
    }
  }

  output(bundle: string): Promise<string> {
    return readFile(join(bundle, 'output'), 'utf8');
  }
}
