/** Debian's dockerd as a peer: its own data root, socket and network namespace, gone when the bench ends. */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually, run } from '../harness/cluster.js';

const tools = fileURLToPath(new URL('../../../build/tools', import.meta.url));
const address = '10.97.77.2';

export class DockerdPeer {
  private readonly folder = mkdtempSync(join(tmpdir(), 'enxame-bench-dockerd-'));
  readonly namespace = `enxame-bench-${process.pid}`;
  readonly socket = join(this.folder, 'docker.sock');
  private readonly link = `enxb${process.pid}`.slice(0, 15);
  private child: ChildProcess | undefined;

  async start(): Promise<void> {
    const { link } = this;
    await must('ip', ['netns', 'add', this.namespace]);
    await must('ip', ['link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', this.namespace]);
    await must('ip', ['link', 'set', link, 'up']);
    for (const args of [
      ['link', 'set', 'lo', 'up'],
      ['addr', 'add', `${address}/24`, 'dev', 'eth0'],
      ['link', 'set', 'eth0', 'up'],
    ]) {
      await must('ip', ['-netns', this.namespace, ...args]);
    }
    const root = join(tools, 'dockerd');
    mkdirSync(join(this.folder, 'data'));
    const log = openSync(join(this.folder, 'log'), 'a');
    const upper = join(this.folder, 'etc');
    const work = join(this.folder, 'etc-work');
    for (const folder of [upper, work]) mkdirSync(folder);
    const mounts = `mount -t tmpfs -o mode=0755 run /run && mount -t overlay -o lowerdir=/etc,upperdir=${upper},workdir=${work} etc /etc`;
    // A mount namespace of its own: what it keeps in /run and /etc, and every mount it forgets, goes with it.
    this.child = spawn(
      'nsenter',
      [
        `--net=/run/netns/${this.namespace}`,
        '--',
        'unshare',
        '--mount',
        'sh',
        '-c',
        `${mounts} && exec "$@"`,
        'sh',
        join(root, 'usr/sbin/dockerd'),
        '--cgroup-parent',
        `/${this.namespace}`,
        '--data-root',
        join(this.folder, 'data'),
        '--exec-root',
        join(this.folder, 'exec'),
        '--host',
        `unix://${this.socket}`,
        '--pidfile',
        join(this.folder, 'pid'),
      ],
      {
        stdio: ['ignore', log, log],
        env: {
          ...process.env,
          PATH: `${join(root, 'usr/bin')}:${join(root, 'usr/sbin')}:${process.env.PATH}:/usr/sbin:/sbin`,
          LD_LIBRARY_PATH: `${join(root, 'lib/x86_64-linux-gnu')}:${join(root, 'usr/lib/x86_64-linux-gnu')}`,
        },
      },
    );
    closeSync(log);
    await eventually('dockerd', 30_000, async () => (await this.docker(['version'])).code === 0);
  }

  docker(args: readonly string[], input?: string): ReturnType<typeof run> {
    return run('docker', args, {
      env: { DOCKER_HOST: `unix://${this.socket}` },
      timeoutMs: 120_000,
      ...(input === undefined ? {} : { input }),
    });
  }

  initSwarm(): Promise<void> {
    return must('docker', ['swarm', 'init', '--advertise-addr', address], {
      DOCKER_HOST: `unix://${this.socket}`,
    });
  }

  async stop(): Promise<void> {
    const child = this.child;
    if (child && child.exitCode === null && child.signalCode === null) {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      // Each of the programs before dockerd became the next one, so this is dockerd itself.
      child.kill('SIGTERM');
      await gone;
    }
    // By itself it would go some time after its namespace, and the next dockerd of this process wants the name.
    await run('ip', ['link', 'del', this.link]);
    await run('ip', ['netns', 'del', this.namespace]);
    await eventually('the cgroups of dockerd empty', 10_000, async () => {
      this.removeCgroups();
      return true;
    });
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '');
    for (const mount of mounts.filter((target) => target.startsWith(this.folder)).reverse())
      await run('umount', ['-l', mount]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** dockerd leaves the parent of its containers' cgroups, in every hierarchy. */
  private removeCgroups(): void {
    for (const hierarchy of ['', ...readdirSync('/sys/fs/cgroup')]) {
      const folder = join('/sys/fs/cgroup', hierarchy, this.namespace);
      if (existsSync(folder)) removeCgroupTree(folder);
    }
  }
}

/** Deepest first; a cgroup folder goes by rmdir alone. */
function removeCgroupTree(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) removeCgroupTree(join(folder, entry.name));
  }
  rmdirSync(folder);
}

async function must(command: string, args: string[], env: Record<string, string> = {}): Promise<void> {
  const result = await run(command, args, { env });
  if (result.code !== 0) throw new Error(`${command} ${args.join(' ')}: ${result.stderr}`);
}
