/** A cluster that has ended leaves nothing behind, however it ended; two of them do not meet. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { expect } from 'chai';
import { containerPrefix, overlayPrefix } from '../libs/network/src/kernel/names.js';
import { enxameMain, eventually, run, TestCluster } from './harness/cluster.js';

interface Picture {
  links: string[];
  routes: string[];
  rules: string[];
  tables: string[];
  namespaces: string[];
  mounts: string[];
  cgroups: string[];
  processes: string[];
  sockets: string[];
}

async function lines(command: string, ...args: string[]): Promise<string[]> {
  return (await run(command, args)).stdout.split('\n').filter(Boolean).sort();
}

const ours = 'e2e-left';
const claims = '/var/lib/enxame/.index';

/** Lines that are about another local cluster of this machine, which may come and go while this test runs. */
function foreignLines(): RegExp {
  const parts = ['a line of nobody'];
  for (const entry of existsSync(claims) ? readdirSync(claims) : []) {
    const index = Number(entry);
    if (readFileSync(`${claims}/${entry}`, 'utf8').startsWith(ours)) continue;
    const tag = `d${index}n1`;
    const mark = (0x0e0 + index) << 20;
    parts.push(
      `\\benx${index}(br|n\\d+)\\b`,
      `${overlayPrefix(tag)}|${containerPrefix(tag)}|enxame_${tag}\\b|enxame_dev_${index}\\b`,
      `\\b10\\.98\\.${index}\\.|\\b169\\.254\\.1\\.${index + 1}\\b`,
      `metric (${mark}|${mark + 1})\\b|dport ${4789 + index}\\b|fwmark 0x${(mark >>> 20).toString(16)}`,
    );
  }
  return new RegExp(parts.join('|'));
}

/**
 * Everything of the machine that a cluster could leave something in. What has no name of ours, links, routes, rules
 * and tables, is compared whole but for what other clusters have; of the rest what belongs to these clusters.
 */
async function picture(): Promise<Picture> {
  const foreign = foreignLines();
  const own = (found: string[]): string[] => found.filter((line) => !foreign.test(line));
  const names = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder).sort() : []);
  return {
    links: own((await lines('ip', '-o', 'link')).map((line) => line.split(':')[1]!.trim())),
    routes: own(await lines('ip', 'route', 'show', 'table', 'all')),
    rules: own(await lines('ip', 'rule')),
    tables: own(await lines('nft', 'list', 'tables')),
    namespaces: names('/run/netns').filter((name) => name.startsWith('enxame-e2e-left')),
    mounts: readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => /enxame[-/]e2e-left/.test(line)),
    cgroups: names('/sys/fs/cgroup').flatMap((controller) =>
      names(`/sys/fs/cgroup/${controller}/enxame`)
        .filter((name) => name.startsWith('e2e-left'))
        .map((name) => `${controller}/${name}`),
    ),
    processes: names('/proc')
      .filter((pid) => /^\d+$/.test(pid))
      .flatMap((pid) => {
        try {
          const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
          return /\/(var\/lib|run)\/enxame\/e2e-left/.test(line) ? [line] : [];
        } catch {
          return [];
        }
      }),
    sockets: names('/run/enxame').filter((name) => name.startsWith('e2e-left')),
  };
}

describe('leaving nothing behind', function () {
  this.timeout(240_000);
  const cluster = new TestCluster('e2e-left');
  let before: Picture;

  const work = async (): Promise<void> => {
    await cluster.up();
    await cluster.loadDemo();
    await cluster.docker([
      'service',
      'create',
      '--name',
      'web',
      '--replicas',
      '4',
      '--publish',
      '18083:8080',
      'enxame/demo:1',
    ]);
  };

  beforeEach(async () => {
    await cluster.purge();
    before = await picture();
  });
  after(() => cluster.end());

  it('after dev down', async () => {
    await work();
    await cluster.purge();
    expect(await picture()).to.deep.equal(before);
  });

  it('after the supervisor and every daemon were killed with -9', async () => {
    await work();
    const pids = (await picture()).processes.length;
    expect(pids).to.be.greaterThan(3);
    const supervisor = Number(readFileSync('/run/enxame/e2e-left/supervisor.pid', 'utf8'));
    process.kill(supervisor, 'SIGKILL');
    for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
      let line = '';
      try {
        line = readFileSync(`/proc/${name}/cmdline`, 'utf8');
      } catch {
        continue;
      }
      if (line.includes('/apps/') && line.includes('/var/lib/enxame/e2e-left/'))
        process.kill(Number(name), 'SIGKILL');
    }
    await cluster.purge();
    expect(await picture()).to.deep.equal(before);
  });

  it('after Ctrl-C of a cluster in the foreground', async () => {
    const child = spawn(process.execPath, [enxameMain, 'dev', 'up', '--name', 'e2e-left', '--workers', '2'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let screen = '';
    child.stdout.on('data', (chunk: Buffer) => (screen += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (screen += chunk.toString()));
    const ended = once(child, 'exit') as Promise<[number | null]>;
    await eventually(
      'the screen',
      90_000,
      async () => screen.includes('is up') && screen.includes('Try next'),
    );
    await cluster.loadDemo();
    const args = ['--replicas', '4', '--publish', '18083:8080', 'enxame/demo:1'];
    await cluster.docker(['service', 'create', '--name', 'web', ...args]);
    child.kill('SIGINT');
    const [code] = await ended;
    expect(code, screen).to.equal(0);
    expect(screen).to.include('Stopping ...');
    expect(await picture()).to.deep.equal(before);
  });

  it('refuses to start twice and harms nothing', async () => {
    await work();
    const second = await run(process.execPath, [
      enxameMain,
      'dev',
      'up',
      '--name',
      'e2e-left',
      '--workers',
      '2',
      '--detach',
    ]);
    expect(second.code).to.equal(1);
    expect(second.stderr).to.match(
      /already running \(process \d+\)\. Stop it with: npx enxame dev down --name e2e-left/,
    );
    await cluster.allRunning('web', 4);
  });

  it('lets two clusters run side by side, and start again with their state', async () => {
    const other = new TestCluster('e2e-left-2', 1);
    await work();
    try {
      await other.up();
      await other.loadDemo();
      await other.docker([
        'service',
        'create',
        '--name',
        'web',
        '--replicas',
        '2',
        '--publish',
        '18084:8080',
        'enxame/demo:2',
      ]);
      const version = async (port: number): Promise<string> =>
        String(
          JSON.parse(
            (await run('curl', ['-s', '-H', 'Accept: application/json', `http://127.0.0.1:${port}/`])).stdout,
          ).version,
        );
      expect(await version(18_083)).to.equal('1');
      expect(await version(18_084)).to.equal('2');
    } finally {
      await other.end();
    }
    await cluster.allRunning('web', 4);
    const stopped = await run(process.execPath, [enxameMain, 'dev', 'down', '--name', 'e2e-left'], {
      timeoutMs: 100_000,
    });
    expect(stopped.code, stopped.stderr).to.equal(0);
    const again = await run(
      process.execPath,
      [enxameMain, 'dev', 'up', '--name', 'e2e-left', '--workers', '2', '--detach'],
      { timeoutMs: 100_000 },
    );
    expect(again.code, again.stdout + again.stderr).to.equal(0);
    await cluster.allRunning('web', 4);
  });
});
