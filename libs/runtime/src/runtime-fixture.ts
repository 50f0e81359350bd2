/**
 * For this library's tests: a runtime on a real launcher in a network namespace of its own, with a root that is the
 * static busybox. Everything lives in one temporary folder and one cgroup, and is gone afterwards.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, rm, rmdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { ContainerId } from '#libs/model';
import { cgroupDirectories } from './cgroup/cgroup-plan.js';
import { detectCgroups } from './cgroup/detect.js';
import { createContainerRuntime } from './container-runtime.js';
import { createLauncherClient } from './launcher/client.js';
import type { RuntimeClock } from './options.js';
import type { ContainerConfig, ContainerRuntime, ExecConfig, LogQuery, RuntimeEvent } from './port.js';

const run = promisify(execFile);
const busybox = '/bin/busybox';

export const systemClock: RuntimeClock = {
  nowMs: () => Date.now(),
  setTimeout(callback, delayMs) {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};

function repositoryRoot(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'package.json'))) folder = join(folder, '..');
  return folder;
}

export const launcherPath = join(repositoryRoot(), 'libs/runtime/native/build/enxame-launcher');

export async function eventually<T>(what: string, probe: () => Promise<T | undefined | false>): Promise<T> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > deadline) throw new Error(`never: ${what}`);
    await delay(10);
  }
}

export class RuntimeFixture {
  readonly errors: string[] = [];
  readonly events: RuntimeEvent[] = [];
  readonly netns = `enxame-r${process.pid}`;
  readonly cgroupParent = `/enxame-test-${process.pid}`;
  runtime!: ContainerRuntime;
  #count = 0;

  private constructor(readonly folder: string) {}

  static async make(): Promise<RuntimeFixture> {
    const fixture = new RuntimeFixture(await mkdtemp('/tmp/enxame-runtime-'));
    const { layer } = fixture;
    for (const name of ['bin', 'etc', 'proc', 'sys', 'dev', 'tmp', 'root', 'home/ana', 'data/inner']) {
      await mkdir(join(layer, name), { recursive: true });
    }
    await copyFile(busybox, join(layer, 'bin/busybox'));
    const { stdout } = await run(busybox, ['--list']);
    for (const applet of stdout.trim().split('\n')) {
      if (applet !== 'busybox') await symlink('busybox', join(layer, 'bin', applet));
    }
    await writeFile(
      join(layer, 'etc/passwd'),
      'root:x:0:0:root:/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\n',
    );
    await writeFile(join(layer, 'etc/group'), 'root:x:0:\nana:x:1000:\nvideo:x:44:ana\n');
    await writeFile(join(layer, 'data/file'), 'from the image\n');
    await writeFile(join(layer, 'data/inner/deep'), 'deep\n');
    await run('ip', ['netns', 'add', fixture.netns]);
    await run('ip', ['-n', fixture.netns, 'link', 'set', 'lo', 'up']);
    await fixture.restart();
    return fixture;
  }

  get layer(): string {
    return join(this.folder, 'layer');
  }

  /** As after `kill -9` of the agent: a new one finds what the old one left. */
  async restart(): Promise<void> {
    await this.runtime?.close();
    this.runtime = createContainerRuntime({
      stateDir: join(this.folder, 'state'),
      runDir: join(this.folder, 'run'),
      cgroupParent: this.cgroupParent,
      launcherPath,
      // Not `ip netns exec`, which mounts a /sys of its own, without cgroups.
      launcherCommandPrefix: ['nsenter', `--net=/run/netns/${this.netns}`],
      clock: systemClock,
      log: (error, what) => this.errors.push(`${what}: ${String(error)}`),
    });
    this.runtime.watch((event) => this.events.push(event));
    await this.runtime.start();
  }

  config(change: Partial<ContainerConfig> & { argv: string[] }): ContainerConfig {
    return {
      id: randomBytes(32).toString('hex') as ContainerId,
      name: `test-${++this.#count}`,
      labels: {},
      createdAtMs: Date.now(),
      image: { id: 'sha256:0', reference: 'busybox' },
      rootLayers: [this.layer],
      env: [],
      workdir: '/',
      user: '',
      groups: [],
      hostname: 'box',
      tty: false,
      openStdin: false,
      stopSignal: 'SIGTERM',
      stopGraceMs: 5_000,
      readOnlyRootfs: false,
      init: false,
      mounts: [],
      resources: {},
      security: {
        capabilitiesAdd: [],
        capabilitiesDrop: [],
        seccomp: { mode: 'default' },
        noNewPrivileges: false,
        privileged: false,
      },
      network: {
        mode: 'none',
        interfaces: [],
        nameservers: [],
        searchDomains: [],
        resolverOptions: [],
        hosts: [],
      },
      log: { fileBytesMax: 1 << 20, filesMax: 3 },
      oomScoreAdj: 0,
      ulimits: [],
      sysctls: {},
      shmBytes: 1 << 20,
      ...change,
    };
  }

  shell(script: string, change: Partial<ContainerConfig> = {}): ContainerConfig {
    return this.config({ argv: ['/bin/sh', '-c', script], ...change });
  }

  async start(config: ContainerConfig): Promise<ContainerId> {
    await this.runtime.create(config);
    await this.runtime.run(config.id);
    return config.id;
  }

  /** Runs a script to its end: exit code and everything it said. */
  async result(config: ContainerConfig): Promise<{ exitCode: number; output: string }> {
    const id = await this.start(config);
    const { exitCode } = await this.runtime.wait(id);
    return { exitCode, output: await this.output(id) };
  }

  async output(id: ContainerId, query: Partial<LogQuery> = {}): Promise<string> {
    let text = '';
    for await (const lines of this.runtime.logs(id, {
      follow: false,
      stdout: true,
      stderr: true,
      ...query,
    })) {
      for (const line of lines) text += line.data.toString();
    }
    return text;
  }

  async exec(id: ContainerId, argv: string[], change: Partial<ExecConfig> = {}): Promise<string> {
    const session = await this.runtime.exec(id, {
      argv,
      env: [],
      workdir: '',
      user: '',
      tty: false,
      attachStdin: false,
      privileged: false,
      ...change,
    });
    let text = '';
    session.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    session.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
    const { exitCode } = await session.exited;
    return `${text}[${exitCode}]`;
  }

  async removeAll(): Promise<void> {
    for (const { config } of this.runtime.list()) {
      await this.runtime.stop(config.id, { graceMs: 0 });
      await this.runtime.remove(config.id);
    }
  }

  async end(): Promise<void> {
    await this.removeAll();
    await this.runtime.close();
    await createLauncherClient({
      binaryPath: '/nonexistent',
      socketPath: join(this.folder, 'run/launcher.sock'),
      logPath: '/dev/null',
    }).shutdown();
    await run('ip', ['netns', 'del', this.netns]);
    const layout = detectCgroups(await readFile('/proc/self/mountinfo', 'utf8'));
    for (const folder of cgroupDirectories(layout, this.cgroupParent, '')) await rmdir(folder);
    await rm(this.folder, { recursive: true, force: true });
  }
}
