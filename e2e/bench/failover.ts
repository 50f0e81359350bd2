/** How long a cluster of three managers takes no write after its leader was killed, seen by a client of a survivor. */
import { eventually, TestCluster } from '../harness/cluster.js';
import { summarize } from './figures.js';

const managers = [1, 2, 3] as const;
const killsDefault = 20;

export async function benchFailover(): Promise<void> {
  const kills = Number(process.env['FAILOVER_KILLS'] ?? killsDefault);
  const cluster = new TestCluster('bench-failover', 0, 3);
  const times: number[] = [];
  try {
    await cluster.up();
    for (let kill = 0; kill < kills; kill++) {
      await cluster.allReachable(managers, managers.length);
      const leader = await cluster.leader(managers);
      const survivor = managers.find((node) => node !== leader)!;
      process.kill(cluster.managerPid(leader), 'SIGKILL');
      const startedAt = performance.now();
      await eventually('a write through a survivor', 30_000, () => write(cluster, survivor, `kill-${kill}`));
      times.push(performance.now() - startedAt);
    }
  } finally {
    await cluster.end();
  }
  const { min, median, max } = summarize(times);
  console.log(
    `leader killed, next write acknowledged by a survivor's API, ${kills} kills (ms, min / median / max): ${[min, median, max].map(Math.round).join(' / ')}`,
  );
}

async function write(cluster: TestCluster, node: number, Name: string): Promise<boolean> {
  const { status } = await cluster.ask(node, 'POST', '/services/create', {
    waitMs: 10_000,
    body: {
      Name,
      TaskTemplate: { ContainerSpec: { Image: 'enxame/demo:1' } },
      Mode: { Replicated: { Replicas: 0 } },
    },
  });
  // 409: an earlier try was written though its answer did not come.
  return status === 201 || status === 409;
}
