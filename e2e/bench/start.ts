/**
 * `npm run bench -- start`: how long until a container runs, how long until a service's replicas all run, and what
 * an idle container costs, beside dockerd and crun in the same run.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually, TestCluster } from '../harness/cluster.js';
import { call } from './api-call.js';
import { benchImage, idleCommand, importAndSave, makeRootfs } from './bench-image.js';
import { measureCrun } from './crun.js';
import { DockerdPeer } from './dockerd.js';
import { machineLoad, printTable, type Row, spread, summarize } from './figures.js';
import { idleMemory, isContainerdShim, isOurKeeper } from './memory.js';

const runs = 20;
const replicaCounts = [1, 10, 100];
const servicesMsMax = 120_000;

export async function benchStart(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'enxame-bench-'));
  const rootfs = makeRootfs(folder);
  const cluster = new TestCluster('bench');
  const ourSockets = [1, 2, 3].map((node) => cluster.socketOf(node));
  const dockerd = new DockerdPeer();
  try {
    await Promise.all([cluster.up(), dockerd.start()]);
    const archive = await importAndSave(dockerd, rootfs, folder);
    await cluster.docker(['load', '-q', '-i', archive]);
    const rows: Row[] = [];

    const ours = summarize(await containerStarts(cluster.socket));
    const theirs = summarize(await containerStarts(dockerd.socket));
    const crun = summarize(measureCrun(rootfs, runs));
    rows.push(
      {
        figure: 'create + start through the API, median',
        unit: 'ms',
        ours: ours.median,
        peer: 'dockerd',
        theirs: theirs.median,
        aim: '15x',
        met: theirs.median / ours.median >= 15,
      },
      {
        figure: 'create + start, beside the bare runtime',
        unit: 'ms',
        ours: ours.median,
        peer: 'crun',
        theirs: crun.median,
        aim: 'crun + 10 ms',
        met: ours.median <= crun.median + 10,
      },
    );
    console.log(
      `create + start in ms: ours ${spread(ours)}; dockerd ${spread(theirs)}; crun ${spread(crun)}; load ${machineLoad()}`,
    );

    const ourMemory = await idleMemory(cluster.socket, isOurKeeper);
    const theirMemory = await idleMemory(dockerd.socket, isContainerdShim);
    rows.push({
      figure: 'memory beside an idle container (PSS)',
      unit: 'MB',
      ours: ourMemory,
      peer: 'containerd-shim',
      theirs: theirMemory,
      aim: 'under 0.5 MB',
      met: ourMemory < 0.5,
    });

    await dockerd.initSwarm();
    for (const replicas of replicaCounts) {
      const mine = summarize(
        await sampleServices(ourSockets, replicas, replicas >= 100 ? 3 : 7, replicas === 1 ? 1 : 0),
      );
      const swarm = summarize(await sampleServices([dockerd.socket], replicas, replicas >= 100 ? 1 : 3, 0));
      console.log(
        `service of ${replicas} until all run, in ms: ours ${spread(mine)}; Swarm ${spread(swarm)}; load ${machineLoad()}`,
      );
      rows.push({
        figure: `service of ${replicas} until all run`,
        unit: 's',
        ours: mine.median / 1000,
        peer: 'Swarm (1 node)',
        theirs: swarm.median / 1000,
        aim: '10x',
        met: swarm.median / mine.median >= 10,
      });
    }
    printTable('Starting', rows);
  } finally {
    const endings = await Promise.allSettled([dockerd.stop(), cluster.end()]);
    rmSync(folder, { recursive: true, force: true });
    for (const ending of endings) if (ending.status === 'rejected') console.error(ending.reason);
  }
}

async function containerStarts(socket: string): Promise<number[]> {
  const samples: number[] = [];
  for (let i = 0; i < runs + 3; i++) {
    const startedAt = performance.now();
    const { Id } = await call<{ Id: string }>(socket, 'POST', '/containers/create', {
      Image: benchImage,
      Cmd: idleCommand,
    });
    await call(socket, 'POST', `/containers/${Id}/start`);
    if (i >= 3) samples.push(performance.now() - startedAt);
    await call(socket, 'DELETE', `/containers/${Id}?force=1`);
  }
  return samples;
}

/** Milliseconds until all replicas run; the first of `sockets` is asked, all of them must be empty before the next. */
async function sampleServices(
  sockets: readonly string[],
  replicas: number,
  count: number,
  warmUp: number,
): Promise<number[]> {
  const samples: number[] = [];
  for (let i = 0; i < warmUp + count; i++) {
    const [socket = ''] = sockets;
    const startedAt = performance.now();
    const { ID } = await call<{ ID: string }>(socket, 'POST', '/services/create', {
      Name: `bench-${replicas}-${i}`,
      TaskTemplate: { ContainerSpec: { Image: benchImage, Args: idleCommand, StopGracePeriod: 0 } },
      Mode: { Replicated: { Replicas: replicas } },
    });
    await allRunning(socket, ID, replicas);
    if (i >= warmUp) samples.push(performance.now() - startedAt);
    await call(socket, 'DELETE', `/services/${ID}`);
    for (const each of sockets) {
      await eventually('no container of the last service', 120_000, async () => {
        const filters = encodeURIComponent(
          JSON.stringify({ label: { 'com.docker.swarm.service.id': true } }),
        );
        return (await call<unknown[]>(each, 'GET', `/containers/json?all=1&filters=${filters}`)).length === 0;
      });
    }
  }
  return samples;
}

async function allRunning(socket: string, serviceId: string, replicas: number): Promise<void> {
  const filters = encodeURIComponent(JSON.stringify({ service: { [serviceId]: true } }));
  const deadline = performance.now() + servicesMsMax;
  for (;;) {
    const tasks = await call<{ Status: { State: string } }[]>(socket, 'GET', `/tasks?filters=${filters}`);
    if (tasks.filter((task) => task.Status.State === 'running').length === replicas) return;
    if (performance.now() > deadline) throw new Error(`${replicas} replicas do not all run`);
    await delay(replicas >= 100 ? 20 : 5);
  }
}
