/** Nobody's request fails while replicas come, go, die and move. */
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { eventually, TestCluster } from './harness/cluster.js';
import { LoadClient, type LoadResult } from './harness/load.js';

const port = 18_081;
const requestsMin = 20_000;

describe('traffic during change', function () {
  this.timeout(240_000);
  const cluster = new TestCluster('e2e-traffic');
  let targets: { host: string; port: number }[] = [];

  before(async () => {
    await cluster.up();
    await cluster.loadDemo();
    const nodes = (await cluster.api<{ Status: { Addr: string } }[]>('GET', '/nodes')).body;
    targets = nodes
      .map((node) => ({ host: node.Status.Addr, port }))
      .sort((a, b) => a.host.localeCompare(b.host))
      .slice(0, 2);
    await cluster.docker([
      'service',
      'create',
      '--name',
      'web',
      '--replicas',
      '6',
      '--publish',
      `${port}:8080`,
      '--stop-grace-period',
      '4s',
      '--restart-delay',
      '0s',
      '--update-parallelism',
      '2',
      '--update-monitor',
      '1s',
      '--update-failure-action',
      'rollback',
      '--rollback-parallelism',
      '2',
      '--rollback-monitor',
      '1s',
      'enxame/demo:1',
    ]);
  });
  after(() => cluster.end());

  function report(what: string, result: LoadResult): void {
    const versions = [...result.versions].map(([version, count]) => `v${version}: ${count}`).join(', ');
    console.log(`      ${what}: ${result.sent} requests, ${result.failed} failed (${versions})`);
    for (const line of result.failures) console.log(`        ${line}`);
  }

  async function enough(load: LoadClient): Promise<LoadResult> {
    await eventually(`${requestsMin} requests`, 120_000, async () => load.sent >= requestsMin);
    return load.stop();
  }

  for (const [order, image, version] of [
    ['start-first', 'enxame/demo:2', '2'],
    ['stop-first', 'enxame/demo:1', '1'],
  ] as const) {
    it(`fails no request in a ${order} update of 6 replicas, 2 at a time`, async () => {
      const load = new LoadClient(targets).start();
      const output = await cluster.docker(
        ['service', 'update', '--update-order', order, '--image', image, 'web'],
        { timeoutMs: 180_000 },
      );
      expect(output).to.include('converged');
      const result = await enough(load);
      report(`${order} update`, result);
      expect(result.failed).to.equal(0);
      expect(result.versions.get(version)).to.be.greaterThan(0);
      const tasks = await cluster.allRunning('web', 6);
      expect(tasks.every((task) => task.Spec.ContainerSpec.Image.startsWith(image))).to.equal(true);
    });
  }

  it('rolls a bad version back while the old one serves', async () => {
    const load = new LoadClient(targets).start();
    await cluster.tryDocker(
      ['service', 'update', '--update-order', 'start-first', '--image', 'enxame/demo:bad', 'web'],
      { timeoutMs: 180_000 },
    );
    await eventually('rollback_completed', 120_000, async () => {
      const service = await cluster.api<{ UpdateStatus?: { State: string } }>('GET', '/services/web');
      return service.body.UpdateStatus?.State === 'rollback_completed';
    });
    const result = await load.stop();
    report('rollback of a bad version', result);
    expect(result.failed).to.equal(0);
    await cluster.allRunning('web', 6);
  });

  it('moves the tasks of a drained node without a failed request', async () => {
    const load = new LoadClient(targets).start();
    await cluster.docker(['node', 'update', '--availability', 'drain', 'node-2']);
    const nodes = (await cluster.api<{ ID: string; Description: { Hostname: string } }[]>('GET', '/nodes'))
      .body;
    const drained = nodes.find((node) => node.Description.Hostname === 'node-2')!.ID;
    await eventually('6 running tasks off node-2', 60_000, async () => {
      const running = (await cluster.tasks('web')).filter(
        (task) => task.DesiredState === 'running' && task.Status.State === 'running',
      );
      return running.length === 6 && running.every((task) => task.NodeID !== drained);
    });
    await eventually(
      'the end of the containers on node-2',
      60_000,
      async () => (await cluster.docker(['ps', '-q'], { node: 2 })) === '',
    );
    const result = await load.stop();
    report('drain', result);
    expect(result.failed).to.equal(0);
    await cluster.docker(['node', 'update', '--availability', 'active', 'node-2']);
  });

  it('replaces a container killed with -9 in under a second', async () => {
    const times: number[] = [];
    for (let round = 0; round < 5; round++) {
      const before = await cluster.allRunning('web', 6);
      const victim = before.find(
        (task) => containerPid(task.Status.ContainerStatus!.ContainerID) !== undefined,
      )!;
      const startedAt = performance.now();
      process.kill(containerPid(victim.Status.ContainerStatus!.ContainerID)!, 'SIGKILL');
      await eventually('the replacement', 10_000, async () => {
        const tasks = await cluster.tasks('web');
        const running = tasks.filter(
          (task) => task.Status.State === 'running' && task.DesiredState === 'running',
        );
        return running.length === 6 && !running.some((task) => task.ID === victim.ID);
      });
      times.push(performance.now() - startedAt);
    }
    times.sort((a, b) => a - b);
    console.log(
      `      kill -9 to the replacement running: min ${times[0]!.toFixed(0)} / median ${times[2]!.toFixed(0)} / max ${times[4]!.toFixed(0)} ms`,
    );
    expect(times[2]).to.be.lessThan(1_000);
  });

  /** The container's first process as this machine sees it: found by its cgroup, whichever node plays its machine. */
  function containerPid(containerId: string): number | undefined {
    for (const node of [1, 2, 3]) {
      for (const controller of ['pids/', '']) {
        try {
          const folder = `/sys/fs/cgroup/${controller}enxame/e2e-traffic/node-${node}/${containerId}`;
          const pid = readFileSync(`${folder}/cgroup.procs`, 'utf8').split('\n')[0];
          if (pid) return Number(pid);
        } catch {
          // Not on that node, or not in that hierarchy.
        }
      }
    }
    return undefined;
  }
});
