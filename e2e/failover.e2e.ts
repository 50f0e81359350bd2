/** Three managers: whatever a minority of them suffers, no acknowledged write is lost and nobody's service stops. */
import { spawnSync } from 'node:child_process';
import { closeSync, cpSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { describeVerdict, keyValueModel } from '#libs/sim';
import { expect } from 'chai';
import { eventually, TestCluster, type ApiNode } from './harness/cluster.js';
import { LoadClient } from './harness/load.js';
import { RegisterClients } from './harness/registers.js';

const managers = [1, 2, 3] as const;
const port = 18_086;
const smallDiskMb = 96;
const oneWayMs = 2_000;

function emptyService(Name: string): { Name: string } & Record<string, unknown> {
  return {
    Name,
    TaskTemplate: { ContainerSpec: { Image: 'enxame/demo:1' } },
    Mode: { Replicated: { Replicas: 0 } },
  };
}

function command(program: string, args: string[], input?: string): void {
  const result = spawnSync(program, args, { input, encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`${program} ${args.join(' ')}: ${result.stderr}`);
}

describe('three managers', function () {
  this.timeout(120_000);
  const cluster = new TestCluster('e2e-failover', 1, 3);

  before(async () => {
    await cluster.up();
    await cluster.loadDemo();
  });
  after(() => cluster.end());

  const allReachable = (): Promise<void> => cluster.allReachable(managers, 4);

  const follower = async (): Promise<number> => {
    const leader = await cluster.leader(managers);
    return managers.find((node) => node !== leader)!;
  };

  async function judged(what: string, faults: (clients: RegisterClients) => Promise<void>): Promise<void> {
    const clients = await new RegisterClients(cluster, { nodes: managers, registers: 3 }).start();
    try {
      await faults(clients);
      await allReachable();
      const before = clients.acknowledged;
      await eventually('writes after the fault', 20_000, async () => clients.acknowledged >= before + 10);
    } finally {
      const { verdict, ...counts } = await clients.stop();
      console.log(
        `      ${what}: ${counts.acknowledged} writes acknowledged, ${counts.unknown} unknown, ${counts.refused} overtaken, ${counts.reads} reads`,
      );
      const words = describeVerdict(keyValueModel, verdict as never);
      console.log(`      ${words}`);
      expect(verdict.kind, words).to.equal('linearizable');
    }
    for (const name of ['register-0', 'register-1', 'register-2']) {
      await cluster.docker(['service', 'rm', name]);
    }
  }

  /** Time until a survivor acknowledges a write, from the kill on. */
  async function untilWritten(survivor: number, kill: () => void): Promise<number> {
    kill();
    const startedAt = performance.now();
    await eventually('a write through a survivor', 20_000, async () => {
      const Name = `after-${Math.round(startedAt)}`;
      const { status } = await cluster.ask(survivor, 'POST', '/services/create', {
        waitMs: 6_000,
        body: emptyService(Name),
      });
      // 409: an earlier try was not answered and was written all the same.
      return status === 201 || status === 409;
    });
    return performance.now() - startedAt;
  }

  it('one after the other is killed, leaders and followers, among writes', () =>
    judged('kill -9', async (clients) => {
      const times: number[] = [];
      for (let round = 0; round < 4; round++) {
        const leader = await cluster.leader(managers);
        const victim = round % 2 === 0 ? leader : await follower();
        const survivor = managers.find((node) => node !== victim)!;
        const pid = cluster.managerPid(victim);
        const ms = await untilWritten(survivor, () => process.kill(pid, 'SIGKILL'));
        if (victim === leader) times.push(ms);
        const sofar = clients.acknowledged;
        await eventually('writes go on', 20_000, async () => clients.acknowledged > sofar + 5);
        await allReachable();
      }
      console.log(
        `      leader killed, next write acknowledged after ${times.map((ms) => Math.round(ms)).join(', ')} ms`,
      );
    }));

  it('the leader is stopped for 5 s and goes on: it has been replaced, and nothing old is read or written', () =>
    judged('SIGSTOP', async () => {
      const leader = await cluster.leader(managers);
      const survivor = managers.find((node) => node !== leader)!;
      const pid = cluster.managerPid(leader);
      const ms = await untilWritten(survivor, () => process.kill(pid, 'SIGSTOP'));
      console.log(`      leader stopped, next write acknowledged after ${Math.round(ms)} ms`);
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, 5_000 - ms)));
      process.kill(pid, 'SIGCONT');
      await allReachable();
      expect(await cluster.leader([leader])).not.to.equal(leader);
    }));

  /** Only nodes in namespaces of their own can be cut off without the machine. */
  async function leaderInNamespace(): Promise<number> {
    let leader = await cluster.leader(managers);
    if (leader === 1) {
      process.kill(cluster.managerPid(1), 'SIGKILL');
      await eventually('another leader', 20_000, async () => (leader = await cluster.leader([2, 3])) !== 1);
      await allReachable();
    }
    return leader;
  }

  /** In a node's namespace, nothing passes that comes from these nodes, or that goes to them, while it lasts. */
  async function oneWay(
    node: number,
    cut: { deafTo?: readonly number[]; muteTo?: readonly number[] },
    meanwhile: () => Promise<void>,
  ): Promise<void> {
    const drop = (what: string, nodes: readonly number[] = []): string =>
      nodes.map((other) => `ip ${what} ${cluster.addressOf(other)} drop;`).join(' ');
    const rules = `table inet oneway {
      chain in { type filter hook input priority -300; ${drop('saddr', cut.deafTo)} }
      chain out { type filter hook output priority -300; ${drop('daddr', cut.muteTo)} }
    }`;
    const nft = ['netns', 'exec', `enxame-${cluster.name}-node-${node}`, 'nft'];
    command('ip', [...nft, '-f', '/dev/stdin'], rules);
    try {
      await meanwhile();
    } finally {
      command('ip', [...nft, 'delete', 'table', 'inet', 'oneway']);
    }
  }

  it('messages pass one way only, between the leader and a follower, and then to the leader from nobody', () =>
    judged('one-way cuts', async (clients) => {
      const leader = await leaderInNamespace();
      const [one, other] = managers.filter((node) => node !== leader) as [number, number];
      /** Long enough for elections to be wanted, and writes must go on. */
      const writesGoOn = async (): Promise<void> => {
        const endAt = performance.now() + oneWayMs;
        const sofar = clients.acknowledged;
        await eventually('writes go on', 20_000, async () => clients.acknowledged > sofar + 10);
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, endAt - performance.now())));
      };
      await oneWay(leader, { muteTo: [one] }, writesGoOn);
      await oneWay(leader, { deafTo: [one] }, writesGoOn);
      await allReachable();
      const deaf = await leaderInNamespace();
      const others = managers.filter((node) => node !== deaf);
      await oneWay(deaf, { deafTo: others }, async () => {
        // Its heartbeats arrive: only its own doubt of having a majority makes room for another one.
        await eventually('another leader', 20_000, async () => (await cluster.leader(others)) !== deaf);
        await writesGoOn();
      });
      console.log(
        `      one-way cuts: node ${leader} mute, then deaf to node ${one} beside ${other}; node ${deaf} deaf`,
      );
    }));

  it('the leader is cut off from the others and comes back', () =>
    judged('partition', async () => {
      const leader = await leaderInNamespace();
      const survivor = managers.find((node) => node !== leader && node !== 1)!;
      const namespace = `enxame-${cluster.name}-node-${leader}`;
      const rules = `table inet cut {
        chain in { type filter hook input priority -300; iifname "eth0" drop; }
        chain out { type filter hook output priority -300; oifname "eth0" drop; }
      }`;
      const inside = (args: string[], input?: string): void =>
        command('ip', ['netns', 'exec', namespace, ...args], input);
      const ms = await untilWritten(survivor, () => inside(['nft', '-f', '/dev/stdin'], rules));
      console.log(`      leader cut off, next write acknowledged after ${Math.round(ms)} ms`);
      const refused = await cluster.ask<{ message: string }>(leader, 'GET', '/services', { waitMs: 10_000 });
      expect(refused.status).to.equal(503);
      expect(refused.body.message).to.contain('The swarm does not have a leader');
      inside(['nft', 'delete', 'table', 'inet', 'cut']);
    }));

  it('the disk of one is full, and it comes back when there is room again', () =>
    judged('full disk', async (clients) => {
      const folder = `${cluster.stateDir}/node-3/raft`;
      moveToSmallDisk(folder);
      await allReachable();
      fill(`${folder}/filler`);
      const failures = (): number => managerLog(3).split('ENOSPC').length;
      const before = failures();
      // The room that the log has set aside is used up first.
      const big = { value: 'x'.repeat(900_000) };
      const made: string[] = [];
      for (let number = 0; failures() === before && number < 40; number++) {
        const body = { ...emptyService(`big-${number}`), Labels: big };
        const { status } = await cluster
          .ask(1, 'POST', '/services/create', { body, waitMs: 10_000 })
          .catch(() => ({ status: 0 }));
        if (status === 201) made.push(body.Name);
      }
      expect(failures()).to.be.greaterThan(before);
      const sofar = clients.acknowledged;
      await eventually('writes without it', 20_000, async () => clients.acknowledged > sofar + 20);
      rmSync(`${folder}/filler`);
      for (const name of made) await cluster.docker(['service', 'rm', name]);
    }));

  const managerLog = (node: number): string =>
    readFileSync(`${cluster.stateDir}/node-${node}/manager.log`, 'utf8');

  /** While its manager is away, and its agent cannot start it again. */
  function moveToSmallDisk(folder: string): void {
    const agent = cluster.agentPid(3);
    process.kill(agent, 'SIGSTOP');
    process.kill(cluster.managerPid(3), 'SIGKILL');
    cpSync(folder, `${folder}.moved`, { recursive: true });
    command('mount', ['-t', 'tmpfs', '-o', `size=${smallDiskMb}m`, 'tmpfs', folder]);
    cpSync(`${folder}.moved`, folder, { recursive: true });
    process.kill(agent, 'SIGCONT');
  }

  /** Never more than the small disk can hold: should it not be one, the machine's own stays free. */
  function fill(file: string): void {
    const fd = openSync(file, 'w');
    const block = Buffer.alloc(1024 * 1024);
    let full = false;
    try {
      for (let written = 0; written <= smallDiskMb; written++) writeSync(fd, block);
    } catch (error) {
      full = (error as NodeJS.ErrnoException).code === 'ENOSPC';
    } finally {
      closeSync(fd);
    }
    expect(full, 'the small disk is full').to.equal(true);
  }

  it('one comes back at another address', async () => {
    const [node, namespace] = [2, `enxame-${cluster.name}-node-2`];
    const before = cluster.addressOf(node);
    const now = before.replace(/\.\d+$/, '.42');
    const file = `${cluster.stateDir}/node-${node}/config.json`;
    const agent = cluster.agentPid(node);
    process.kill(agent, 'SIGKILL');
    process.kill(cluster.managerPid(node), 'SIGKILL');
    command('ip', ['-n', namespace, 'addr', 'del', `${before}/24`, 'dev', 'eth0']);
    command('ip', ['-n', namespace, 'addr', 'add', `${now}/24`, 'dev', 'eth0']);
    const gateway = before.replace(/\.\d+$/, '.1');
    command('ip', ['-n', namespace, 'route', 'replace', 'default', 'via', gateway]);
    writeFileSync(file, readFileSync(file, 'utf8').replaceAll(`"${before}"`, `"${now}"`));
    // An agent that was started in between has read the old configuration.
    const again = await eventually('the agent', 20_000, async () => cluster.agentPid(node));
    process.kill(again, 'SIGKILL');
    type Shown = ApiNode & { ManagerStatus?: { Addr: string } };
    for (const manager of managers) {
      await eventually(`the new address on node ${manager}`, 30_000, async () => {
        const { body } = await cluster.askManager<Shown[]>(manager, '/nodes');
        return body.some(({ ManagerStatus }) => ManagerStatus?.Addr === `${now}:2377`);
      });
    }
    await allReachable();
  });

  it('a rolling update goes on over the death of the leader, without a failed request', async () => {
    const options = ['--replicas', '4', '--publish', `${port}:8080`, '--update-parallelism', '1'];
    const create = [
      'service',
      'create',
      '--name',
      'web',
      '--update-delay',
      '1s',
      '--update-order',
      'start-first',
    ];
    await cluster.docker([...create, ...options, '--restart-delay', '0s', 'enxame/demo:1'], {
      timeoutMs: 60_000,
    });
    const load = new LoadClient([{ host: '127.0.0.1', port }], 4).start();
    const survivor = await follower();
    await cluster.docker(['service', 'update', '--detach', '--image', 'enxame/demo:2', 'web'], {
      node: survivor,
    });
    await eventually('the first task of the new version', 30_000, async () =>
      (await cluster.tasks('web', survivor)).some(
        ({ Spec, Status }) => Spec.ContainerSpec.Image.includes(':2') && Status.State === 'running',
      ),
    );
    process.kill(cluster.managerPid(await cluster.leader(managers)), 'SIGKILL');
    await eventually('the end of the update', 60_000, async () => {
      const answer = await cluster.ask<{ UpdateStatus?: { State: string } }>(
        survivor,
        'GET',
        '/services/web',
      );
      const tasks = await cluster.tasks('web', survivor);
      const seen = tasks.map(
        ({ Status, DesiredState }) => `${DesiredState}/${Status.State} ${Status.Err ?? ''}`,
      );
      if (answer.body.UpdateStatus?.State !== 'completed') {
        throw new Error(`${JSON.stringify(answer.body.UpdateStatus)} ${seen.join(', ')}`);
      }
      return true;
    });
    const running = (await cluster.tasks('web', survivor)).filter(
      ({ DesiredState, Status }) => DesiredState === 'running' && Status.State === 'running',
    );
    expect(running.map(({ Spec }) => Spec.ContainerSpec.Image.split('@')[0])).to.deep.equal(
      Array.from({ length: 4 }, () => 'enxame/demo:2'),
    );
    const result = await load.stop();
    console.log(`      update over a leader's death: ${result.sent} requests, ${result.failed} failed`);
    expect(result.failures).to.deep.equal([]);
  });

  it('the last one of three goes on alone, at an address of its own', async () => {
    for (const node of [1, 2]) {
      // Its agent would start it again.
      process.kill(cluster.agentPid(node), 'SIGSTOP');
      process.kill(cluster.managerPid(node), 'SIGKILL');
    }
    const refused = await cluster.tryDocker(['service', 'ls'], { node: 3 });
    expect(refused.stderr).to.contain('The swarm does not have a leader');
    const before = cluster.addressOf(3);
    const now = before.replace(/\.\d+$/, '.43');
    const namespace = `enxame-${cluster.name}-node-3`;
    command('ip', ['-n', namespace, 'addr', 'add', `${now}/24`, 'dev', 'eth0']);
    const init = ['swarm', 'init', '--force-new-cluster', '--advertise-addr', now];
    await cluster.docker(init, { node: 3, timeoutMs: 60_000 });
    expect(await cluster.docker(['service', 'ls', '--format', '{{.Name}}'], { node: 3 })).to.contain('web');
    type Shown = ApiNode & { ManagerStatus?: { Addr: string; Leader?: boolean } };
    const nodes = (await cluster.ask<Shown[]>(3, 'GET', '/nodes')).body;
    expect(nodes).to.have.length(4);
    const left = nodes.flatMap(({ ManagerStatus }) => (ManagerStatus ? [ManagerStatus] : []));
    expect(left).to.deep.equal([{ Leader: true, Reachability: 'reachable', Addr: `${now}:2377` }]);
    // It leads as an ordinary manager from now on: others may join it.
    const join = await cluster.docker(['swarm', 'join-token', '-q', 'manager'], { node: 3 });
    for (const node of [1, 2]) process.kill(cluster.agentPid(node), 'SIGCONT');
    await cluster.docker(['swarm', 'leave', '--force'], { node: 2, timeoutMs: 60_000 });
    await cluster.docker(['swarm', 'join', '--token', join, `${now}:2377`], { node: 2, timeoutMs: 60_000 });
    await eventually('two managers', 20_000, async () => {
      const { body } = await cluster.ask<ApiNode[]>(2, 'GET', '/nodes');
      return body.filter(({ ManagerStatus }) => ManagerStatus?.Reachability === 'reachable').length === 2;
    });
  });
});
