import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { ClusterEvent, NodeId } from '#libs/model';
import { createTelemetry } from './create-telemetry.js';
import type { Telemetry } from './port.js';

const hasRedis = spawnSync('redis-server', ['--version']).status === 0;

async function until(what: string, predicate: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!(await predicate())) {
    if (Date.now() > deadline) throw new Error(`did not come true in 10 s: ${what}`);
    await delay(10);
  }
}

function event(action: string): ClusterEvent {
  const now = Date.now();
  return {
    Type: 'service',
    Action: action,
    Actor: { ID: 's', Attributes: { name: 'web' } },
    scope: 'swarm',
    time: Math.floor(now / 1000),
    timeNano: now * 1_000_000,
  };
}

describe('telemetry: Redis', function () {
  this.timeout(30_000);
  let dir: string;
  let socket: string;
  let server: ChildProcess;
  const opened: Telemetry[] = [];

  function startServer(): void {
    server = spawn(
      'redis-server',
      ['--port', '0', '--unixsocket', socket, '--save', '', '--appendonly', 'no', '--dir', dir],
      { stdio: 'ignore' },
    );
  }

  async function endServer(): Promise<void> {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const exit = once(server, 'exit');
    server.kill('SIGKILL');
    await exit;
  }

  async function open(): Promise<Telemetry> {
    const telemetry = createTelemetry({ url: socket });
    opened.push(telemetry);
    await telemetry.start();
    await until('connected', () => telemetry.health().connected);
    return telemetry;
  }

  async function history(telemetry: Telemetry): Promise<string[]> {
    const found: string[] = [];
    const signal = new AbortController().signal;
    for await (const each of telemetry.events({ sinceNano: 0n, follow: false, signal })) {
      found.push(each.Action);
    }
    return found;
  }

  before(function () {
    if (!hasRedis) {
      process.stdout.write('    redis-server is not in PATH: the tests with a real Redis are skipped\n');
      this.skip();
    }
  });
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'enxame-redis-'));
    socket = join(dir, 'redis.sock');
    startServer();
  });
  afterEach(async () => {
    for (const telemetry of opened.splice(0)) await telemetry.close();
    await endServer();
    rmSync(dir, { recursive: true, force: true });
  });

  it('keeps history for a process that comes later', async () => {
    const first = await open();
    for (const action of ['create', 'update', 'remove']) first.publishEvent(event(action));
    const second = await open();
    await until('all three are there', async () => (await history(second)).length === 3);
    expect(await history(second)).to.deep.equal(['create', 'update', 'remove']);
    expect(first.health()).to.deep.equal({ kind: 'redis', connected: true, dropped: 0 });
  });

  it('passes live events on to other processes, and to its own readers once', async () => {
    const [first, second] = [await open(), await open()];
    const seen: Record<string, string[]> = { first: [], second: [] };
    const abort = new AbortController();
    const readers = Object.entries({ first, second }).map(async ([name, telemetry]) => {
      for await (const each of telemetry.events({ follow: true, signal: abort.signal })) {
        seen[name]?.push(each.Action);
      }
    });
    // The second one's reader begins at the end of the stream as it was when it connected: ask until it hears.
    await until('the second process listens', () => {
      first.publishEvent(event('hello'));
      return (seen['second'] ?? []).length > 0;
    });
    const before = seen['second']?.length ?? 0;
    second.publishEvent(event('from-second'));
    first.publishEvent(event('from-first'));
    await until('both have both', () =>
      Object.values(seen).every((list) => list.includes('from-first') && list.includes('from-second')),
    );
    abort.abort();
    await Promise.all(readers);
    expect(before).to.be.greaterThan(0);
    for (const list of Object.values(seen)) {
      expect(list.filter((action) => action.startsWith('from-'))).to.have.length(2);
    }
  });

  it('stores samples per container', async () => {
    const first = await open();
    const sample = {
      nodeId: 'n' as NodeId,
      containerId: 'c1',
      atMs: Date.now(),
      cpuNanoseconds: 1,
      memoryBytes: 2,
      pids: 3,
      networkReceivedBytes: 4,
      networkSentBytes: 5,
    };
    first.publishStats(sample);
    const second = await open();
    await until('the sample is there', async () => (await second.stats('c1', { sinceMs: 0 })).length === 1);
    expect(await second.stats('c1', { sinceMs: 0 })).to.deep.equal([sample]);
    expect(await second.stats('c1', { sinceMs: sample.atMs + 1 })).to.deep.equal([]);
  });

  it('goes on when Redis is killed, counts what is lost, and uses it again when it is back', async () => {
    const telemetry = await open();
    const live: string[] = [];
    const abort = new AbortController();
    const reader = (async () => {
      for await (const each of telemetry.events({ follow: true, signal: abort.signal }))
        live.push(each.Action);
    })();
    telemetry.publishEvent(event('before'));
    await until('written', async () => (await history(telemetry)).length === 1);

    await endServer();
    await until('the loss is noticed', () => !telemetry.health().connected);
    telemetry.publishEvent(event('while-down'));
    expect(telemetry.health().dropped).to.be.greaterThan(0);
    // The memory of this process answers.
    expect(await history(telemetry)).to.deep.equal(['before', 'while-down']);

    startServer();
    await until('connected again', () => telemetry.health().connected);
    telemetry.publishEvent(event('after'));
    const other = await open();
    await until('the new one is in Redis', async () => (await history(other)).includes('after'));
    expect(await history(other)).to.deep.equal(['after']);
    expect(await history(telemetry)).to.deep.equal(['before', 'while-down', 'after']);
    abort.abort();
    await reader;
    expect(live).to.deep.equal(['before', 'while-down', 'after']);
  });

  it('does not block or reject when there is no Redis at all', async () => {
    await endServer();
    const telemetry = createTelemetry({ url: socket });
    opened.push(telemetry);
    await telemetry.start();
    for (let i = 0; i < 100; i++) telemetry.publishEvent(event(`e${i}`));
    expect(telemetry.health()).to.deep.equal({ kind: 'redis', connected: false, dropped: 100 });
    expect(await history(telemetry)).to.have.length(100);
  });
});
