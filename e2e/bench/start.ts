/**
 * `npm run bench -- start`: how long until a container runs, how long until a service's replicas all run, and what
 * an idle container costs, beside dockerd and crun in the same run.
 */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually, run, TestCluster } from '../harness/cluster.js';
import { measureCrun } from './crun.js';
import { DockerdPeer } from './dockerd.js';
import { printTable, type Row, summarize } from './figures.js';

const runs = 20;
const replicaCounts = [1, 10, 100];
const idleContainers = 10;
const servicesMsMax = 120_000;
const image = 'bench/busybox:1';
const command = ['/bin/busybox', 'sleep', '1000'];

export async function benchStart(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'enxame-bench-'));
  const rootfs = join(folder, 'rootfs');
  mkdirSync(join(rootfs, 'bin'), { recursive: true });
  copyFileSync('/bin/busybox', join(rootfs, 'bin/busybox'));
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

function spread(summary: { min: number; median: number; max: number }): string {
  return `${summary.min.toFixed(1)} / ${summary.median.toFixed(1)} / ${summary.max.toFixed(1)} (min/median/max)`;
}

/** The same image for both: imported by dockerd, saved as an archive, loaded by us. */
async function importAndSave(dockerd: DockerdPeer, rootfs: string, folder: string): Promise<string> {
  const layer = join(folder, 'rootfs.tar');
  const archive = join(folder, 'image.tar');
  for (const [program, args] of [['tar', ['-C', rootfs, '-cf', layer, '.']]] as const) {
    const result = await run(program, args);
    if (result.code !== 0) throw new Error(result.stderr);
  }
  for (const args of [
    ['import', layer, image],
    ['save', '-o', archive, image],
  ]) {
    const result = await dockerd.docker(args);
    if (result.code !== 0) throw new Error(`docker ${args[0]}: ${result.stderr}`);
  }
  return archive;
}

/** A call of the Docker API over the socket, without the CLI's own time. */
function call<T>(socketPath: string, method: string, path: string, body?: unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const sent = request(
      {
        socketPath,
        method,
        path,
        headers: {
          host: 'docker',
          ...(payload
            ? { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }
            : {}),
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          if ((response.statusCode ?? 500) >= 400)
            reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`));
          else resolve((text ? JSON.parse(text) : undefined) as T);
        });
      },
    );
    sent.on('error', reject);
    sent.end(payload);
  });
}

async function containerStarts(socket: string): Promise<number[]> {
  const samples: number[] = [];
  for (let i = 0; i < runs + 3; i++) {
    const startedAt = performance.now();
    const { Id } = await call<{ Id: string }>(socket, 'POST', '/containers/create', {
      Image: image,
      Cmd: command,
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
      TaskTemplate: { ContainerSpec: { Image: image, Args: command, StopGracePeriod: 0 } },
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

/** Of the last minute: figures of a busy machine are worth less. */
function machineLoad(): string {
  return `${loadavg()[0]?.toFixed(1)} on ${cpus().length} cores`;
}

/**
 * MB of PSS per container of the processes that stand beside it; the containers' own are not among them. Pages that
 * all keepers share are counted once in their sum, so what one of them costs is the sum's share.
 */
async function idleMemory(
  socket: string,
  isKeeper: (title: readonly string[], ids: ReadonlySet<string>) => boolean,
): Promise<number> {
  const ids = new Set<string>();
  for (let i = 0; i < idleContainers; i++) {
    const { Id } = await call<{ Id: string }>(socket, 'POST', '/containers/create', {
      Image: image,
      Cmd: command,
    });
    await call(socket, 'POST', `/containers/${Id}/start`);
    ids.add(Id);
  }
  const kibibytes = pssOf((title) => isKeeper(title, ids));
  for (const id of ids) await call(socket, 'DELETE', `/containers/${id}?force=1`);
  return kibibytes / idleContainers / 1024;
}

/** Our keepers carry their container's id; the launcher they were forked from is one per node. */
function isOurKeeper([name = '', detail = '']: readonly string[], ids: ReadonlySet<string>): boolean {
  return (
    (name === 'enxame-shim' && ids.has(detail)) ||
    (name === 'enxame-launcher' && detail.startsWith('/run/enxame/bench/node-1/'))
  );
}

function isContainerdShim([name = '', ...words]: readonly string[], ids: ReadonlySet<string>): boolean {
  return name.includes('containerd-shim') && words.some((word) => ids.has(word));
}

/** KiB of PSS of the processes of this machine that `counts` accepts, by their title: name and arguments. */
function pssOf(counts: (title: readonly string[]) => boolean): number {
  let sum = 0;
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const title = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split(/[\0 ]/);
      if (!counts(title)) continue;
      const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
      sum += Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0);
    } catch {
      // The process ended while it was looked at.
    }
  }
  return sum;
}
