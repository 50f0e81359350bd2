/** Agents and managers die; containers, state and logs do not. */
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import { busyboxArchive, busyboxImage } from './harness/busybox-image.js';
import { eventually, TestCluster } from './harness/cluster.js';
import { LoadClient } from './harness/load.js';

const port = 18_082;

describe('survival of kill -9', function () {
  this.timeout(180_000);
  const cluster = new TestCluster('e2e-survival');

  before(async () => {
    await cluster.up();
    await cluster.loadDemo();
    await cluster.docker([
      'service',
      'create',
      '--name',
      'web',
      '--replicas',
      '6',
      '--publish',
      `${port}:8080`,
      '--restart-delay',
      '0s',
      'enxame/demo:1',
    ]);
  });
  after(() => cluster.end());

  /** Processes of this cluster by the program they run. */
  function processes(program: string, node?: number): number[] {
    const mark = `/enxame/e2e-survival/${node ? `node-${node}/` : ''}`;
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter((pid) => {
        try {
          const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
          return line.includes(program) && line.includes(mark);
        } catch {
          return false;
        }
      });
  }

  const agents = (node?: number): number[] => processes('/programs/agent.js', node);
  const managers = (): number[] => processes('/programs/manager.js');

  async function containerIds(count = 6): Promise<string[]> {
    const tasks = await cluster.allRunning('web', count, 40_000);
    return tasks.map((task) => `${task.ID} ${task.Status.ContainerStatus!.ContainerID}`).sort();
  }

  async function survives(what: string, kill: () => number[]): Promise<void> {
    const before = await containerIds();
    const load = new LoadClient([{ host: '127.0.0.1', port }], 4).start();
    const killed = kill();
    expect(killed.length).to.be.greaterThan(0);
    for (const pid of killed) process.kill(pid, 'SIGKILL');
    await eventually(`return of what was killed (${what})`, 60_000, async () => {
      const alive = [...agents(), ...managers()];
      if (killed.some((pid) => alive.includes(pid)) || agents().length < 3 || managers().length !== 1)
        return false;
      const nodes = await cluster.api<{ Status: { State: string } }[]>('GET', '/nodes');
      return (
        nodes.status === 200 &&
        nodes.body.length === 3 &&
        nodes.body.every((node) => node.Status.State === 'ready')
      );
    });
    // The cluster must still be able to act: a change of the spec is carried out.
    await cluster.docker(['service', 'scale', 'web=7'], { timeoutMs: 60_000 });
    await cluster.docker(['service', 'scale', 'web=6'], { timeoutMs: 60_000 });
    const result = await load.stop();
    console.log(`      ${what}: ${result.sent} requests, ${result.failed} failed`);
    for (const line of result.failures) console.log(`        ${line}`);
    expect(result.failed).to.equal(0);
    const after = await containerIds();
    const kept = before.filter((id) => after.includes(id));
    // Scaling down may have chosen an old task instead of the new one; nothing else may have changed.
    expect(kept.length).to.be.at.least(5);
    for (const node of [1, 2, 3]) {
      const shown = await cluster.docker(['ps', '-q', '--no-trunc'], { node });
      for (const id of shown.split('\n').filter(Boolean))
        expect(
          after.some((entry) => entry.endsWith(id)),
          `stray container ${id}`,
        ).to.equal(true);
    }
  }

  it('of the agent of a worker', () => survives('agent of a worker', () => agents(2)));
  it('of the agent of the manager node', () => survives('agent of the manager node', () => agents(1)));
  it('of the manager', () => survives('manager', () => managers()));
  it('of agent and manager together', () =>
    survives('agent and manager', () => [...agents(1), ...managers()]));
  it('of every agent', () => survives('every agent', () => agents()));

  it('of a launcher: containers go on, the next one starts through a new launcher', async () => {
    const before = await containerIds();
    const old = processes('enxame-launcher', 2);
    expect(old.length).to.equal(1);
    const load = new LoadClient([{ host: '127.0.0.1', port }], 4).start();
    process.kill(old[0]!, 'SIGKILL');
    await cluster.docker(['service', 'scale', 'web=9'], { timeoutMs: 60_000 });
    const launchers = processes('enxame-launcher', 2);
    expect(launchers.length).to.equal(1);
    expect(launchers).not.to.include(old[0]);
    expect(await containerIds(9)).to.include.members(before);
    await cluster.docker(['service', 'scale', 'web=6'], { timeoutMs: 60_000 });
    const result = await load.stop();
    console.log(`      launcher: ${result.sent} requests, ${result.failed} failed`);
    expect(result.failures).to.deep.equal([]);
    expect(await containerIds()).to.have.length(6);
  });

  it('of an agent: the log of its containers is complete', async () => {
    const archive = join(mkdtempSync(join(tmpdir(), 'enxame-e2e-')), 'busybox.tar');
    writeFileSync(archive, await busyboxArchive());
    await cluster.docker(['load', '-q', '-i', archive], { node: 2 });
    rmSync(dirname(archive), { recursive: true });
    const count = 'i=0; while :; do i=$((i+1)); echo "number $i"; usleep 5000; done';
    const args = ['--constraint', 'node.hostname==node-2', busyboxImage, 'sh', '-c', count];
    await cluster.docker(['service', 'create', '--name', 'counter', '--detach', ...args]);
    await cluster.allRunning('counter', 1);
    const id = (await cluster.docker(['ps', '-q', '--filter', 'name=counter'], { node: 2 })).trim();
    const numbers = async (): Promise<number[]> => {
      const text = await cluster.docker(['logs', id], { node: 2 });
      return text.split('\n').map((line) => Number(line.replace('number ', '')));
    };
    for (let round = 0; round < 3; round++) {
      const seen = (await numbers()).length;
      const [pid] = agents(2);
      process.kill(pid!, 'SIGKILL');
      await eventually('lines after the return of the agent', 30_000, async () => {
        const [now] = agents(2);
        return now !== undefined && now !== pid && (await numbers()).length > seen + 100;
      });
    }
    const all = await numbers();
    console.log(`      ${all.length} lines over 3 kills of the agent`);
    expect(all).to.deep.equal(all.map((_, index) => index + 1));
    await cluster.docker(['service', 'rm', 'counter']);
  });

  it('of the manager: its API answers again soon', async () => {
    const seconds: number[] = [];
    for (let round = 0; round < 3; round++) {
      const killed = managers();
      for (const pid of killed) process.kill(pid, 'SIGKILL');
      const startedAt = performance.now();
      await eventually('an answer of the API', 30_000, async () => {
        const answer = await cluster.api('GET', '/services');
        return answer.status === 200 && !managers().some((pid) => killed.includes(pid));
      });
      seconds.push((performance.now() - startedAt) / 1000);
    }
    console.log(`      API back after ${seconds.map((each) => each.toFixed(2)).join(', ')} s`);
    expect(await containerIds()).to.have.length(6);
  });

  it('keeps every acknowledged write when the manager is killed among writes', async () => {
    const acknowledged: string[] = [];
    let stop = false;
    const writer = (async () => {
      for (let i = 0; !stop && i < 2_000; i++) {
        const name = `write-${i}`;
        try {
          const answer = await cluster.api('POST', '/services/create', {
            Name: name,
            TaskTemplate: { ContainerSpec: { Image: 'enxame/demo:1' } },
            Mode: { Replicated: { Replicas: 0 } },
          });
          if (answer.status === 201) acknowledged.push(name);
        } catch {
          // Not acknowledged: it may be there or not.
        }
      }
    })();
    await eventually('some writes', 20_000, async () => acknowledged.length >= 20);
    for (const pid of managers()) process.kill(pid, 'SIGKILL');
    const sofar = acknowledged.length;
    await eventually('writes after the restart', 40_000, async () => acknowledged.length >= sofar + 20);
    stop = true;
    await writer;
    const names = new Set(
      (await cluster.api<{ Spec: { Name: string } }[]>('GET', '/services')).body.map(
        (service) => service.Spec.Name,
      ),
    );
    const lost = acknowledged.filter((name) => !names.has(name));
    console.log(`      ${acknowledged.length} acknowledged writes, ${lost.length} lost`);
    expect(lost).to.deep.equal([]);
  });
});
