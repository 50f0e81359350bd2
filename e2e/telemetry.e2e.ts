/** Events and stats in a real Redis, which dies and comes back while the cluster works on. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { eventually, run, TestCluster } from './harness/cluster.js';

const redisPort = 16_399;

describe('telemetry in Redis', function () {
  this.timeout(120_000);
  const cluster = new TestCluster('e2e-telemetry', 1);
  const folder = mkdtempSync(join(tmpdir(), 'enxame-redis-'));
  let redis: ChildProcess | undefined;

  async function startRedis(): Promise<void> {
    redis = spawn(
      'redis-server',
      ['--port', String(redisPort), '--bind', '127.0.0.1', '--dir', folder, '--appendonly', 'yes'],
      { stdio: 'ignore' },
    );
    await eventually('Redis', 10_000, async () => (await ask('ping')) === 'PONG');
  }

  async function killRedis(): Promise<void> {
    if (!redis || redis.exitCode !== null || redis.signalCode !== null) return;
    const gone = once(redis, 'exit');
    redis.kill('SIGKILL');
    await gone;
  }

  async function ask(...command: string[]): Promise<string> {
    return (await run('redis-cli', ['-p', String(redisPort), ...command])).stdout.trim();
  }

  function recordedEvents(): Promise<string> {
    return ask('xrange', 'enxame:e2e-telemetry:events', '-', '+');
  }

  before(async () => {
    await startRedis();
    await cluster.up(['--telemetry', `redis://127.0.0.1:${redisPort}`]);
    await cluster.loadDemo();
  });
  after(async () => {
    await cluster.end();
    await killRedis();
    rmSync(folder, { recursive: true, force: true });
  });

  it('keeps events and stats of every node there, under the name of the cluster', async () => {
    await cluster.docker(['service', 'create', '-q', '--name', 'first', '--replicas', '2', 'enxame/demo:1']);
    const tasks = await cluster.allRunning('first', 2);
    await eventually('the events in Redis', 10_000, async () => {
      const text = await recordedEvents();
      const containers = tasks.map((task) => task.Status.ContainerStatus!.ContainerID);
      return text.includes('first') && containers.every((id) => text.includes(id));
    });
    for (const task of tasks) {
      const id = task.Status.ContainerStatus!.ContainerID;
      await eventually(`stats of ${id} in Redis`, 30_000, async () => {
        const keys = await ask('keys', 'enxame:e2e-telemetry:*');
        return keys.split('\n').some((key) => key.includes('stats') && key.includes(id));
      });
    }
    const foreign = (await ask('keys', '*')).split('\n').filter((key) => !key.startsWith('enxame:e2e-tel'));
    expect(foreign).to.deep.equal([]);
  });

  it('does not notice that Redis is killed: services start, scale and end', async () => {
    await killRedis();
    const since = Math.floor(Date.now() / 1000);
    const output = await cluster.docker(['service', 'create', '--name', 'second', 'enxame/demo:1']);
    expect(output).to.include('converged');
    expect(await cluster.docker(['service', 'scale', 'second=3'])).to.include('converged');
    const events = await cluster.docker([
      'events',
      '--since',
      String(since),
      '--until',
      String(Math.ceil(Date.now() / 1000)),
      '--filter',
      'type=service',
      '--format',
      '{{.Action}} {{.Actor.Attributes.name}}',
    ]);
    expect(events.split('\n')).to.include('create second');
    await cluster.docker(['service', 'rm', 'second']);
  });

  it('goes on recording when Redis is back, beside what it had before', async () => {
    await startRedis();
    const had = Number(await ask('xlen', 'enxame:e2e-telemetry:events'));
    expect(had).to.be.greaterThan(0);
    await eventually('a new event in Redis', 30_000, async () => {
      await cluster.docker(['service', 'update', '-q', '-d', '--label-add', `at=${Date.now()}`, 'first']);
      return Number(await ask('xlen', 'enxame:e2e-telemetry:events')) > had;
    });
    const events = await cluster.docker([
      'events',
      '--since',
      '10m',
      '--until',
      '0s',
      '--filter',
      'type=service',
      '--format',
      '{{.Action}} {{.Actor.Attributes.name}}',
    ]);
    expect(events.split('\n')).to.include('create first');
  });
});
