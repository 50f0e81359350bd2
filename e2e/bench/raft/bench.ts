/**
 * `npm run bench -- raft`: three members on loopback with fsync on, beside three of Debian's etcd on the same disk in
 * the same run, loaded by the same client over gRPC from another process.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { TestCluster } from '../../../libs/raft/src/transport/testing/certificates.js';
import { eventually } from '../../harness/cluster.js';
import { printTable, type Row, summarize } from '../figures.js';
import { EtcdPeer } from './etcd.js';
import { MemberGroup, MemberProcess } from './group.js';
import { encodePut, paths } from './kv.js';
import type { LoadResult } from './load.js';
import { freePorts } from './processes.js';
import { UnaryClient } from './wire.js';

const loadProgram = fileURLToPath(new URL('./load.js', import.meta.url));
const buildFolder = fileURLToPath(new URL('../../../../build', import.meta.url));

interface Plan {
  seconds: number;
  kills: number;
  entries: number;
}

const wholePlan: Plan = { seconds: 10, kills: 20, entries: 1_000_000 };
const quickPlan: Plan = { seconds: 2, kills: 3, entries: 50_000 };

const conditions = `Both sides: three members on loopback, data on one disk, fsync on, a leader that is called by one client process over
gRPC without TLS, 64 callers to a connection. Members talk over TLS: ours with certificates of the cluster both ways, etcd
with --peer-auto-tls. Ours keep a map in memory, etcd its store of versions on the disk. Nothing is encrypted at rest.
Writes are of 256 bytes. Each client has one call under way: a unary call, or with ours also a message on a gRPC stream of
its own that stays open, as the product's agents and managers call. For etcd there are unary calls alone.`;

export async function benchRaft(isQuick: boolean): Promise<void> {
  const plan = isQuick ? quickPlan : wholePlan;
  // Not in /tmp, which may be memory: the disk is what is measured.
  mkdirSync(buildFolder, { recursive: true });
  const folder = mkdtempSync(join(buildFolder, 'bench-raft-'));
  const profile = process.env['ENXAME_BENCH_PROFILE'];
  const group = new MemberGroup(
    folder,
    profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`],
  );
  const etcd = new EtcdPeer(folder);
  try {
    console.log(conditions);
    await Promise.all([group.start(), etcd.start()]);
    const rows = await compare(group, etcd, plan);
    if (profile !== undefined) await Promise.all(group.members.map((member) => member.end()));
    else await printFailover(group, plan);
    await Promise.all([group.stop(), etcd.stop()]);
    await printRestart(folder, plan);
    printTable(`raft, load of the machine ${loadavg()[0]?.toFixed(1)}`, rows);
  } finally {
    await Promise.all([group.stop(), etcd.stop()]);
    rmSync(folder, { recursive: true, force: true });
  }
}

type Verb = 'put' | 'puts' | 'range' | 'ranges' | 'echo';

async function load(target: string, verb: Verb, clients: number, plan: Plan): Promise<LoadResult> {
  const { stdout } = await promisify(execFile)(process.execPath, [
    loadProgram,
    target,
    verb,
    String(clients),
    String(plan.seconds),
  ]);
  const result = JSON.parse(stdout) as LoadResult;
  if (result.failures > 0) throw new Error(`${result.failures} calls to ${target} failed: ${result.failure}`);
  return result;
}

/** Processor time of processes, in microseconds: what a busy machine does not change. */
function cpuTimeUs(pids: readonly number[]): number {
  const ticksPerSecond = 100;
  const ticks = pids.map((pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return Number(fields[11]) + Number(fields[12]);
  });
  return (ticks.reduce((sum, each) => sum + each, 0) / ticksPerSecond) * 1e6;
}

async function withCpu(
  pids: readonly number[],
  work: () => Promise<LoadResult>,
): Promise<{ result: LoadResult; cpuUs: number }> {
  const before = cpuTimeUs(pids);
  const result = await work();
  return { result, cpuUs: (cpuTimeUs(pids) - before) / result.calls };
}

/** How our members are called: etcd has unary calls alone. */
const ways = { stream: 'each on a stream', unary: 'by unary calls' } as const;
type Way = keyof typeof ways;
const verbOf = {
  write: { stream: 'puts', unary: 'put' },
  read: { stream: 'ranges', unary: 'range' },
} as const;

interface Results {
  ours: Record<Way, LoadResult>;
  theirs: LoadResult;
}

/** One after the other, never two at once: they share the processors. */
async function compare(group: MemberGroup, etcd: EtcdPeer, plan: Plan): Promise<Row[]> {
  const rows: Row[] = [];
  const peer = 'etcd 3.4';
  // Compilers and disks of both get warm before anything counts.
  await load((await group.leader()).front, 'put', 64, plan);
  await load((await etcd.leader()) ?? '', 'put', 64, plan);
  const all = async (what: 'write' | 'read', clients: number): Promise<Results> => {
    const run = async (
      name: string,
      pids: readonly number[],
      target: string,
      verb: Verb,
    ): Promise<LoadResult> => {
      const { result, cpuUs } = await withCpu(pids, () => load(target, verb, clients, plan));
      const { perSecond, p50Ms, p99Ms } = result;
      console.log(
        `${what} ${clients} clients, ${name}: ${perSecond.toFixed(0)}/s, p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms, ${cpuUs.toFixed(0)} us of processor per call in all members`,
      );
      return result;
    };
    const { front } = await group.leader();
    const pids = group.members.map((member) => member.pid);
    return {
      ours: {
        stream: await run(`ours, ${ways.stream}`, pids, front, verbOf[what].stream),
        unary: await run(`ours, ${ways.unary}`, pids, front, verbOf[what].unary),
      },
      theirs: await run('etcd', etcd.pids, (await etcd.leader()) ?? '', verbOf[what].unary),
    };
  };
  const add = (
    figure: string,
    { ours, theirs }: Results,
    pick: (result: LoadResult) => number,
    aim: { unit: string; more?: boolean; atLeast: Record<Way, number> },
  ): void => {
    for (const way of ['stream', 'unary'] as const) {
      const [mine, other] = [pick(ours[way]), pick(theirs)];
      const ratio = aim.more ? mine / other : other / mine;
      rows.push({
        figure: `${figure}, ${ways[way]}`,
        unit: aim.unit,
        ours: mine,
        peer,
        theirs: other,
        ...(aim.more ? { more: true } : {}),
        aim: `${aim.atLeast[way]}x`,
        met: ratio >= aim.atLeast[way],
      });
    }
  };
  const perSecond = ({ perSecond: rate }: LoadResult): number => rate;
  for (const [clients, stream] of [
    [1, 1],
    [64, 1],
    [256, 3],
  ] as const) {
    const leader = await group.leader();
    const before = await leader.report(clients === 256 ? 'reset' : 'report');
    const results = await all('write', clients);
    const atLeast = { stream, unary: 1 };
    add(`acknowledged writes, ${clients} clients`, results, perSecond, { unit: '/s', more: true, atLeast });
    if (clients === 64) {
      const p99 = ({ p99Ms }: LoadResult): number => p99Ms;
      add('p99 of a write, 64 clients', results, p99, { unit: 'ms', atLeast });
    }
    if (clients === 256) {
      const { loopDelayP99Ms, cpuMs } = await leader.report('rest');
      console.log(
        `leader under 256 writers: event loop delay p99 ${loopDelayP99Ms.toFixed(1)} ms (aim: under 50), cpu ${(cpuMs - before.cpuMs).toFixed(0)} ms`,
      );
    }
  }
  await printEcho(group, plan);
  const atLeast = { stream: 1, unary: 1 };
  add('linearizable reads, 64 clients', await all('read', 64), perSecond, {
    unit: '/s',
    more: true,
    atLeast,
  });
  return rows;
}

/** Without a peer: what unary calls cost by themselves on either side of them. */
async function printEcho(group: MemberGroup, plan: Plan): Promise<void> {
  const { front } = await group.leader();
  const pids = group.members.map((member) => member.pid);
  const { result, cpuUs } = await withCpu(pids, () => load(front, 'echo', 256, plan));
  console.log(
    `unary calls that do nothing, 256 clients: ${result.perSecond.toFixed(0)}/s, p99 ${result.p99Ms.toFixed(1)} ms, ${cpuUs.toFixed(0)} us of processor per call in all members`,
  );
}

/** From the kill of the leader to the next write that a survivor acknowledges. */
async function printFailover(group: MemberGroup, plan: Plan): Promise<void> {
  const samplesMs: number[] = [];
  for (let kill = 0; kill < plan.kills; kill++) {
    const leader = await group.leader();
    const survivor = group.members.find((member) => member !== leader) as MemberProcess;
    const client = new UnaryClient(survivor.front);
    const killed = leader.kill();
    const startedAt = performance.now();
    await eventually('a write at a survivor', 30_000, () => put(client, `kill-${kill}`));
    samplesMs.push(performance.now() - startedAt);
    client.close();
    await killed;
    await leader.start();
    const { applied } = await survivor.report();
    await eventually('it is back', 60_000, async () => (await leader.report()).applied >= applied);
  }
  const { min, median, max } = summarize(samplesMs);
  console.log(
    `leader killed -> next write acknowledged at a survivor, ${plan.kills} kills: min ${min.toFixed(0)}, median ${median.toFixed(0)}, max ${max.toFixed(0)} ms`,
  );
}

function put(client: UnaryClient, key: string): Promise<boolean> {
  const request = encodePut({ key: Buffer.from(key), value: Buffer.from('value') });
  return client.call(paths.put, request, 20_000).then(
    () => true,
    () => false,
  );
}

/** How long a member takes to be back with so many log entries after its last snapshot, and what it needs. */
async function printRestart(folder: string, plan: Plan): Promise<void> {
  const [peerPort = 0, frontPort = 0] = await freePorts(2);
  const cluster = await TestCluster.create();
  const member = new MemberProcess({
    id: 'alone',
    origin: { kind: 'bootstrap', members: ['alone'] },
    dir: join(folder, 'restart'),
    peerPort,
    frontPort,
    peers: {},
    credentials: await cluster.credentials('alone'),
    limits: { snapshotEntries: Number.MAX_SAFE_INTEGER, snapshotBytes: Number.MAX_SAFE_INTEGER },
    fillEntries: plan.entries,
  });
  await member.start();
  await member.kill();
  const again = new MemberProcess({ ...member.config, fillEntries: 0 });
  const startedAt = performance.now();
  const { applied } = await again.start();
  const seconds = (performance.now() - startedAt) / 1000;
  const peak = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${again.pid}/status`, 'utf8'))?.[1];
  await again.kill();
  console.log(
    `restart with ${applied} log entries after the last snapshot: ${seconds.toFixed(2)} s, peak memory ${(Number(peak) / 1024).toFixed(0)} MB`,
  );
}
