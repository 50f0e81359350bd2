/**
 * `npm run bench -- containers`: what a node's engine takes for the everyday things, beside dockerd in the same run:
 * `docker run`, `docker exec`, a hundred starts at once, long logs, a container that talks without pause, and what a
 * thousand idle containers cost.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually, run, TestCluster } from '../harness/cluster.js';
import { call } from './api-call.js';
import { benchImage, idleCommand, importAndSave, makeRootfs } from './bench-image.js';
import { DockerdPeer } from './dockerd.js';
import { machineLoad, printTable, type Row, spread, summarize } from './figures.js';
import { idleMemory, isContainerdShim, isOurKeeper, pssOf } from './memory.js';

const cliRuns = 15;
const burst = 100;
const logLines = 1_000_000;
const talkBytes = 200 * 1024 * 1024;
const idleMany = 1_000;
const startsAtOnce = 16;

interface Engine {
  name: string;
  socket: string;
}

interface Measured {
  runMs: number[];
  execMs: number[];
  execApiMs: number[];
  burstPerSecond: number;
  logsSeconds: number;
  talk: { megabytesPerSecond: number; lostBytes: number; pingP99Ms: number };
}

export async function benchContainers(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'enxame-bench-'));
  const cluster = new TestCluster('bench', 0);
  const dockerd = new DockerdPeer();
  try {
    await Promise.all([cluster.up(), dockerd.start()]);
    const archive = await importAndSave(dockerd, makeRootfs(folder), folder);
    await cluster.docker(['load', '-q', '-i', archive]);
    const agentMegabytes = pssOf(isAgent) / 1024;
    const ours = await measure({ name: 'ours', socket: cluster.socket });
    const theirs = await measure({ name: 'dockerd', socket: dockerd.socket });
    const ourMemory = await idleMemory(cluster.socket, isOurKeeper);
    const theirMemory = await idleMemory(dockerd.socket, isContainerdShim);
    const many = await manyIdle(cluster.socket);
    printTable('Containers', rowsOf({ ours, theirs, ourMemory, theirMemory, agentMegabytes }));
    console.log(
      `${many.running} of ${idleMany} idle containers run, started in ${many.seconds.toFixed(1)} s; ` +
        `${many.megabytesEach.toFixed(3)} MB of PSS beside each; agent ${many.agentMegabytes.toFixed(0)} MB`,
    );
  } finally {
    const endings = await Promise.allSettled([dockerd.stop(), cluster.end()]);
    rmSync(folder, { recursive: true, force: true });
    for (const ending of endings) if (ending.status === 'rejected') console.error(ending.reason);
  }
}

function rowsOf(all: {
  ours: Measured;
  theirs: Measured;
  ourMemory: number;
  theirMemory: number;
  agentMegabytes: number;
}): Row[] {
  const { ours, theirs } = all;
  const peer = 'dockerd';
  const [ourRun, theirRun] = [summarize(ours.runMs).median, summarize(theirs.runMs).median];
  const [ourExec, theirExec] = [summarize(ours.execMs).median, summarize(theirs.execMs).median];
  const [ourApiExec, theirApiExec] = [summarize(ours.execApiMs).median, summarize(theirs.execApiMs).median];
  const inverse = (perSecond: number): number => 1000 / perSecond;
  return [
    {
      figure: 'docker run --rm true, by the CLI',
      unit: 'ms',
      ours: ourRun,
      peer,
      theirs: theirRun,
      aim: '5x',
      met: theirRun / ourRun >= 5,
    },
    {
      figure: 'docker exec true, by the CLI',
      unit: 'ms',
      ours: ourExec,
      peer,
      theirs: theirExec,
      aim: '5x',
      met: theirExec / ourExec >= 5,
    },
    {
      figure: 'exec of true, create + start by the API',
      unit: 'ms',
      ours: ourApiExec,
      peer,
      theirs: theirApiExec,
      aim: '5x',
      met: theirApiExec / ourApiExec >= 5,
    },
    {
      figure: `${burst} started at once, each`,
      unit: 'ms',
      ours: inverse(ours.burstPerSecond),
      peer,
      theirs: inverse(theirs.burstPerSecond),
      aim: '15x',
      met: ours.burstPerSecond / theirs.burstPerSecond >= 15,
    },
    {
      figure: 'docker logs of 1,000,000 lines',
      unit: 's',
      ours: ours.logsSeconds,
      peer,
      theirs: theirs.logsSeconds,
      aim: '2x',
      met: theirs.logsSeconds / ours.logsSeconds >= 2,
    },
    {
      figure: 'a megabyte of output into the log',
      unit: 'ms',
      ours: inverse(ours.talk.megabytesPerSecond),
      peer,
      theirs: inverse(theirs.talk.megabytesPerSecond),
      aim: '2x, nothing lost',
      met: ours.talk.megabytesPerSecond / theirs.talk.megabytesPerSecond >= 2 && ours.talk.lostBytes === 0,
    },
    {
      figure: 'ping of the engine meanwhile, p99',
      unit: 'ms',
      ours: ours.talk.pingP99Ms,
      peer,
      theirs: theirs.talk.pingP99Ms,
      aim: 'under 50 ms',
      met: ours.talk.pingP99Ms < 50,
    },
    {
      figure: 'memory beside an idle container (PSS)',
      unit: 'MB',
      ours: all.ourMemory,
      peer: 'containerd-shim',
      theirs: all.theirMemory,
      aim: 'under 0.3 MB',
      met: all.ourMemory < 0.3,
    },
    {
      figure: 'idle memory of the agent (PSS)',
      unit: 'MB',
      ours: all.agentMegabytes,
      peer: 'the aim',
      theirs: 120,
      aim: 'under 120 MB',
      met: all.agentMegabytes < 120,
    },
  ];
}

async function measure(engine: Engine): Promise<Measured> {
  const runMs = await cliTimes(engine, ['run', '--rm', benchImage, '/bin/busybox', 'true']);
  const { Id } = await start(engine.socket);
  const execMs = await cliTimes(engine, ['exec', Id, '/bin/busybox', 'true']);
  const execApiMs = await apiExecTimes(engine.socket, Id);
  await remove(engine.socket, Id);
  console.log(
    `${engine.name}: run ${spread(summarize(runMs))} ms; exec ${spread(summarize(execMs))} ms, ` +
      `by the API ${spread(summarize(execApiMs))} ms; load ${machineLoad()}`,
  );
  const burstPerSecond = await startBurst(engine.socket);
  const logsSeconds = await readLongLog(engine);
  const talk = await talkWithoutPause(engine);
  console.log(
    `${engine.name}: ${burstPerSecond.toFixed(1)} containers/s; logs in ${logsSeconds.toFixed(2)} s; ` +
      `${talk.megabytesPerSecond.toFixed(0)} MB/s into the log, ${talk.lostBytes} bytes lost; load ${machineLoad()}`,
  );
  return { runMs, execMs, execApiMs, burstPerSecond, logsSeconds, talk };
}

function docker(engine: Engine, args: readonly string[]): ReturnType<typeof run> {
  return run('docker', args, { env: { DOCKER_HOST: `unix://${engine.socket}` }, timeoutMs: 300_000 });
}

async function cliTimes(engine: Engine, args: readonly string[]): Promise<number[]> {
  const samples: number[] = [];
  for (let i = 0; i < cliRuns + 2; i++) {
    const startedAt = performance.now();
    const result = await docker(engine, args);
    if (result.code !== 0) throw new Error(`${engine.name}: docker ${args.join(' ')}: ${result.stderr}`);
    if (i >= 2) samples.push(performance.now() - startedAt);
  }
  return samples;
}

/** What the engine alone takes, without the CLI's own start: until the connection of the exec ends. */
async function apiExecTimes(socket: string, container: string): Promise<number[]> {
  const samples: number[] = [];
  for (let i = 0; i < cliRuns + 2; i++) {
    const startedAt = performance.now();
    const { Id } = await call<{ Id: string }>(socket, 'POST', `/containers/${container}/exec`, {
      Cmd: ['/bin/busybox', 'true'],
      AttachStdout: true,
      AttachStderr: true,
    });
    await call(socket, 'POST', `/exec/${Id}/start`, { Detach: false, Tty: false });
    if (i >= 2) samples.push(performance.now() - startedAt);
    const { ExitCode } = await call<{ ExitCode: number }>(socket, 'GET', `/exec/${Id}/json`);
    if (ExitCode !== 0) throw new Error(`exec of true ended with ${ExitCode}`);
  }
  return samples;
}

async function start(socket: string, command: readonly string[] = idleCommand): Promise<{ Id: string }> {
  const created = await call<{ Id: string }>(socket, 'POST', '/containers/create', {
    Image: benchImage,
    Cmd: command,
    // dockerd lets a log grow without end unless it is told otherwise; we rotate: neither is to happen here.
    HostConfig: { LogConfig: { Type: 'json-file', Config: { 'max-size': '4g' } } },
  });
  await call(socket, 'POST', `/containers/${created.Id}/start`);
  return created;
}

async function remove(socket: string, id: string): Promise<void> {
  await call(socket, 'DELETE', `/containers/${id}?force=1`);
}

/** Containers per second, all asked for in the same moment. */
async function startBurst(socket: string): Promise<number> {
  const startedAt = performance.now();
  const started = await Promise.all(Array.from({ length: burst }, () => start(socket)));
  const seconds = (performance.now() - startedAt) / 1000;
  for (const { Id } of started) await remove(socket, Id);
  return burst / seconds;
}

/** Seconds that `docker logs` takes to show every line of a container that has ended. */
async function readLongLog(engine: Engine): Promise<number> {
  const { Id } = await start(engine.socket, ['/bin/busybox', 'seq', '1', String(logLines)]);
  await call(engine.socket, 'POST', `/containers/${Id}/wait`);
  const startedAt = performance.now();
  const { stdout } = await shell(engine, `docker logs ${Id} | wc -l`);
  const seconds = (performance.now() - startedAt) / 1000;
  if (Number(stdout) !== logLines)
    throw new Error(`${engine.name}: ${stdout.trim()} of ${logLines} lines came back`);
  await remove(engine.socket, Id);
  return seconds;
}

/** A container that writes as fast as it is listened to, and how the engine answers others meanwhile. */
async function talkWithoutPause(engine: Engine): Promise<Measured['talk']> {
  const line = 'x'.repeat(99);
  const script = `/bin/busybox yes ${line} | /bin/busybox head -c ${talkBytes}`;
  const startedAt = performance.now();
  const { Id } = await start(engine.socket, ['/bin/busybox', 'sh', '-c', script]);
  let ended = false;
  const waiting = call(engine.socket, 'POST', `/containers/${Id}/wait`).then(() => {
    ended = true;
    return performance.now();
  });
  const pings: number[] = [];
  while (!ended) {
    const askedAt = performance.now();
    await call(engine.socket, 'GET', '/_ping').catch(() => undefined);
    pings.push(performance.now() - askedAt);
    await delay(5);
  }
  const seconds = ((await waiting) - startedAt) / 1000;
  const { stdout } = await shell(engine, `docker logs ${Id} | wc -c`);
  await remove(engine.socket, Id);
  return {
    megabytesPerSecond: talkBytes / 1024 / 1024 / seconds,
    lostBytes: talkBytes - Number(stdout),
    pingP99Ms: summarize(pings).p99,
  };
}

function shell(engine: Engine, script: string): ReturnType<typeof run> {
  return run('sh', ['-c', script], { env: { DOCKER_HOST: `unix://${engine.socket}` }, timeoutMs: 300_000 });
}

async function manyIdle(
  socket: string,
): Promise<{ running: number; seconds: number; megabytesEach: number; agentMegabytes: number }> {
  const startedAt = performance.now();
  const ids = new Set<string>();
  let left = idleMany;
  const worker = async (): Promise<void> => {
    while (left-- > 0) ids.add((await start(socket)).Id);
  };
  await Promise.all(Array.from({ length: startsAtOnce }, worker));
  const seconds = (performance.now() - startedAt) / 1000;
  const running = await eventually('the list of containers', 30_000, () =>
    call<unknown[]>(socket, 'GET', '/containers/json'),
  );
  const megabytesEach = pssOf((title) => isOurKeeper(title, ids)) / 1024 / idleMany;
  const agentMegabytes = pssOf(isAgent) / 1024;
  const removals = [...ids];
  const remover = async (): Promise<void> => {
    for (let id = removals.pop(); id !== undefined; id = removals.pop()) await remove(socket, id);
  };
  await Promise.all(Array.from({ length: startsAtOnce }, remover));
  return { running: running.length, seconds, megabytesEach, agentMegabytes };
}

/** The agent of the bench's own cluster. */
function isAgent(title: readonly string[]): boolean {
  return (
    title.some((word) => word.endsWith('/programs/agent.js')) &&
    title.some((word) => word.includes('/var/lib/enxame/bench/'))
  );
}
