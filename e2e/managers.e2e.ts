/** Nodes that belong to no cluster are brought together, promoted, demoted and taken apart by the stock docker CLI. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createRootCa } from '#libs/pki';
import { expect } from 'chai';
import { eventually, run, TestCluster } from './harness/cluster.js';

const port = 18_087;

describe('docker swarm and docker node', function () {
  this.timeout(120_000);
  const cluster = new TestCluster('e2e-managers', 3);
  /** The fourth node stays a worker. */
  const [first, second, third, worker] = [1, 2, 3, 4];
  const addressOf = (node: number): string => cluster.addressOf(node);
  /** A second address of the worker, for overlay traffic. */
  const dataPath = (): string => addressOf(worker).replace(/\.\d+$/, '.44');

  before(() => cluster.up(['--bare']));
  after(() => cluster.end());

  const words = async (node: number, ...args: string[]): Promise<string> => {
    const result = await cluster.tryDocker(args, { node });
    expect(result.code, `docker ${args.join(' ')}: ${result.stdout}`).not.to.equal(0);
    return result.stderr;
  };

  /** `node-1 Leader, node-2 Reachable, ...` as one manager shows them. */
  async function shown(node: number): Promise<string[]> {
    const format = '{{.Hostname}} {{.ManagerStatus}}';
    const text = await cluster.docker(['node', 'ls', '--format', format], { node });
    return text
      .split('\n')
      .map((line) => line.trim())
      .sort();
  }

  async function token(role: 'worker' | 'manager', node = first): Promise<string> {
    return cluster.docker(['swarm', 'join-token', '-q', role], { node });
  }

  /** Until every manager shows this. */
  async function allShow(expected: readonly string[], on: readonly number[]): Promise<void> {
    for (const node of on) {
      await eventually(`${expected.join(', ')} on node ${node}`, 20_000, async () => {
        const now = await shown(node);
        expect(now).to.deep.equal([...expected].sort());
        return true;
      });
    }
  }

  /** Every node and every manager holds a root that is not this one. */
  async function allShowRoot(old: string): Promise<void> {
    for (const node of [first, second, third]) {
      await eventually(`another root on node ${node}`, 30_000, async () => {
        const { body } = await cluster.ask<{ Description: { TLSInfo: { TrustRoot: string } } }[]>(
          node,
          'GET',
          '/nodes',
        );
        const roots = new Set(body.map(({ Description }) => Description.TLSInfo.TrustRoot));
        return roots.size === 1 && ![...roots].join().includes(old);
      });
    }
  }

  it('serves containers, and names the way to a cluster, where there is none', async () => {
    expect(await words(first, 'node', 'ls')).to.contain('Use "docker swarm init" or "docker swarm join"');
    expect(await words(first, 'swarm', 'leave')).to.contain('This node is not part of a swarm');
    expect(await cluster.docker(['info', '--format', '{{.Swarm.LocalNodeState}}'])).to.equal('inactive');
    await cluster.docker(['load', '-q', '-i', cluster.demoImage('1')], { node: worker });
    await cluster.docker(['run', '-d', '--name', 'alone', 'enxame/demo:1'], { node: worker });
    expect(await cluster.docker(['ps', '--format', '{{.Names}}'], { node: worker })).to.equal('alone');
  });

  it('makes a cluster as it was asked for, once', async () => {
    expect(await words(first, 'swarm', 'init', '--advertise-addr', '192.0.2.1')).to.contain(
      'advertise address 192.0.2.1 is not an address of this node',
    );
    const init = ['swarm', 'init', '--advertise-addr', addressOf(first), '--task-history-limit', '2'];
    expect(await cluster.docker(init)).to.contain('is now a manager');
    const [swarm] = JSON.parse(
      `[${await cluster.docker(['info', '--format', '{{json .Swarm}}'])}]`,
    ) as Record<string, never>[];
    expect(swarm).to.deep.include({
      LocalNodeState: 'active',
      ControlAvailable: true,
      NodeAddr: addressOf(first),
      Managers: 1,
      Nodes: 1,
    });
    expect(swarm).to.have.nested.property('Cluster.Spec.Orchestration.TaskHistoryRetentionLimit', 2);
    expect(await words(first, 'swarm', 'init')).to.contain('This node is already part of a swarm.');
  });

  it('lets nodes join by token, and refuses tokens that are wrong, old or of another cluster', async () => {
    const old = await token('worker');
    await cluster.docker(['swarm', 'join-token', '--rotate', 'worker']);
    const to = `${addressOf(first)}:2377`;
    expect(await words(worker, 'swarm', 'join', '--token', old, to)).to.contain('valid join token');
    expect(await words(worker, 'swarm', 'join', '--token', 'SWMTKN-1-x', to)).to.contain(
      'invalid join token',
    );
    const [, , caHash, secret] = (await token('worker')).split('-');
    const foreign = `SWMTKN-1-${[...caHash!].reverse().join('')}-${secret}`;
    expect(await words(worker, 'swarm', 'join', '--token', foreign, to)).to.contain('fingerprint');
    expect(await words(worker, 'swarm', 'join', '--token', await token('worker'), '192.0.2.1:2377')).to.match(
      /connect|No connection/,
    );
    expect(
      await cluster.docker(['info', '--format', '{{.Swarm.LocalNodeState}}'], { node: worker }),
    ).to.equal('inactive');
    const namespace = ['-n', `enxame-${cluster.name}-node-${worker}`];
    await run('ip', [...namespace, 'addr', 'add', `${dataPath()}/24`, 'dev', 'eth0']);
    const join = ['swarm', 'join', '--data-path-addr', dataPath(), '--token', await token('worker'), to];
    await cluster.docker(join, { node: worker });
    await cluster.docker(['swarm', 'join', '--token', await token('manager'), to], { node: second });
    await cluster.docker(['swarm', 'join', '--token', await token('worker'), to], { node: third });
    expect(await words(third, 'swarm', 'join', '--token', await token('worker'), to)).to.contain(
      'already part of a swarm',
    );
    await allShow(['node-1 Leader', 'node-2 Reachable', 'node-3', 'node-4'], [first, second]);
    expect(await cluster.docker(['ps', '--format', '{{.Names}}'], { node: worker })).to.equal('alone');
  });

  it('promotes a worker, and every manager answers everything', async () => {
    await cluster.docker(['node', 'promote', 'node-3'], { node: second });
    await allShow(
      ['node-1 Leader', 'node-2 Reachable', 'node-3 Reachable', 'node-4'],
      [first, second, third],
    );
    await cluster.docker(['load', '-q', '-i', cluster.demoImage('1')], { node: third });
    const create = ['service', 'create', '--name', 'web', '--replicas', '2', 'enxame/demo:1'];
    await cluster.docker(create, { node: third, timeoutMs: 60_000 });
    for (const node of [first, second, third]) {
      expect(
        await cluster.docker(['service', 'ls', '--format', '{{.Name}} {{.Replicas}}'], { node }),
      ).to.equal('web 2/2');
      expect(await cluster.docker(['service', 'logs', 'web'], { node })).to.contain('web.1');
    }
    const [task] = await cluster.tasks('web');
    const id = task!.Status.ContainerStatus!.ContainerID;
    for (const node of [first, second, third]) {
      expect(await cluster.docker(['inspect', '-f', '{{.State.Status}}', id], { node })).to.equal('running');
    }
    expect(await words(worker, 'service', 'ls')).to.contain("Worker nodes can't be used");
  });

  it('sends overlay traffic to the address that a node was given for it', async () => {
    const create = ['service', 'create', '--name', 'far', '--constraint', 'node.hostname==node-4'];
    await cluster.docker([...create, '--publish', `${port}:8080`, 'enxame/demo:1'], { timeoutMs: 60_000 });
    const inside = (node: number, ...args: string[]) =>
      run('ip', ['netns', 'exec', `enxame-${cluster.name}-node-${node}`, ...args]);
    const devices = await inside(worker, 'ip', '-d', 'link', 'show', 'type', 'vxlan');
    expect(devices.stdout).to.contain(`local ${dataPath()}`);
    const forwarding = (await inside(second, 'bridge', 'fdb')).stdout;
    expect(forwarding)
      .to.contain(`dst ${dataPath()} `)
      .and.not.contain(`dst ${addressOf(worker)} `);
    // From outside, and from a node as the client, through a node that has no task of it.
    for (const client of ['outside', 'node'] as const) {
      const url = `http://${addressOf(second)}:${port}/`;
      const curl = ['curl', '-sS', '--max-time', '5', url];
      const answer = client === 'outside' ? await run(curl[0]!, curl.slice(1)) : await inside(third, ...curl);
      expect(answer.stdout, `${client}: ${answer.stderr}`).to.contain('service');
      const own = await inside(worker, ...curl);
      expect(own.stdout, own.stderr).to.contain('service');
    }
    await cluster.docker(['service', 'rm', 'far']);
  });

  it("replaces the root of the cluster by the user's own, under everything that runs", async () => {
    const own = await createRootCa({ nowMs: Date.now() });
    const [certificateFile, keyFile] = [join(cluster.stateDir, 'ca.pem'), join(cluster.stateDir, 'ca.key')];
    writeFileSync(certificateFile, own.certificatePem);
    writeFileSync(keyFile, own.keyPem, { mode: 0o600 });
    const before = await cluster.docker(['swarm', 'ca']);
    expect(before).to.match(/^-----BEGIN CERTIFICATE-----/);
    const containers = (await cluster.tasks('web')).map(({ Status }) => Status.ContainerStatus?.ContainerID);
    const external = ['--external-ca', 'protocol=cfssl,url=https://192.0.2.1', '--ca-cert', certificateFile];
    expect(await words(second, 'swarm', 'ca', '--rotate', ...external)).to.contain('CAConfig.ExternalCAs');
    expect(
      await words(
        second,
        'swarm',
        'ca',
        '--rotate',
        '--ca-cert',
        certificateFile,
        '--ca-key',
        certificateFile,
      ),
    ).to.contain('CAConfig.SigningCAKey');

    // The CLI draws its bars on a terminal only.
    const rotate = `docker swarm ca --rotate --ca-cert ${certificateFile} --ca-key ${keyFile} --cert-expiry 1200h`;
    const startedAt = performance.now();
    const drawn = await run('script', ['-qec', rotate, '/dev/null'], {
      env: { DOCKER_HOST: `unix://${cluster.socketOf(second)}`, TERM: 'xterm' },
    });
    console.log(`      root replaced on 4 nodes in ${Math.round(performance.now() - startedAt)} ms`);
    const shown = drawn.stdout.replaceAll('\r', '');
    expect(drawn.code, shown).to.equal(0);
    expect(shown).to.contain('desired root digest: sha256:');
    for (const what of ['TLS', 'CA']) {
      expect(shown).to.match(new RegExp(`rotated ${what} certificates: .*4/4 nodes`));
    }
    expect(shown.trim().endsWith(own.certificatePem.trim())).to.equal(true);
    for (const node of [first, second, third]) {
      expect(`${await cluster.docker(['swarm', 'ca'], { node })}\n`).to.equal(own.certificatePem);
    }
    expect(
      (await cluster.tasks('web')).map(({ Status }) => Status.ContainerStatus?.ContainerID),
    ).to.deep.equal(containers);
  });

  it('replaces the root over the death of its leader, and waits for a node that hangs', async () => {
    const before = await cluster.docker(['swarm', 'ca']);
    const oldToken = await token('worker');
    const agent = cluster.agentPid(worker);
    process.kill(agent, 'SIGSTOP');
    try {
      const started = await cluster.docker(['swarm', 'ca', '--rotate', '--detach', '--quiet'], {
        node: third,
      });
      expect(started).to.equal('');
      const issuerOf = ['node', 'inspect', '--format', '{{.Description.TLSInfo.CertIssuerPublicKey}}'];
      await eventually('three nodes have a certificate of the new root', 20_000, async () => {
        const issuers = await cluster.docker([...issuerOf, 'node-1', 'node-2', 'node-3', 'node-4']);
        const [one, two, three, four] = issuers.split('\n');
        return one === two && two === three && three !== four;
      });
      const leader = await cluster.leader([first, second, third]);
      process.kill(cluster.managerPid(leader), 'SIGKILL');
      const inProgress = ['info', '--format', '{{.Swarm.Cluster.RootRotationInProgress}}'];
      const survivor = leader === second ? third : second;
      expect(await cluster.docker(inProgress, { node: survivor })).to.equal('true');
      expect(await cluster.docker(['swarm', 'ca'], { node: survivor })).to.equal(before);
    } finally {
      process.kill(agent, 'SIGCONT');
    }
    await allShowRoot(before);
    await eventually('another token', 10_000, async () => (await token('worker')) !== oldToken);
    await cluster.allReachable([first, second, third], 4);
  });

  it('tells the events of the cluster on every manager', async () => {
    const seen = [first, second, third].map(async (node) => {
      const child = cluster.spawnDocker(
        ['events', '--filter', 'type=network', '--format', '{{.Action}}'],
        node,
      );
      try {
        return await new Promise<string>((resolve) =>
          child.stdout!.once('data', (data) => resolve(String(data))),
        );
      } finally {
        child.kill();
      }
    });
    let over = false;
    void Promise.all(seen).then(() => (over = true));
    // Whoever listens late misses the first: there are more until all have seen one.
    for (let number = 0; !over && number < 40; number++) {
      await cluster.docker(['network', 'create', '-d', 'overlay', `n${number}`]);
      await cluster.docker(['network', 'rm', `n${number}`]);
    }
    for (const action of await Promise.all(seen)) expect(action).to.match(/create|remove/);
  });

  it('demotes the leader, which hands over first, and a manager that follows', async () => {
    expect(await words(first, 'node', 'rm', '--force', 'node-2')).to.contain('must be demoted to worker');
    await cluster.docker(['node', 'demote', 'node-1']);
    await eventually('a leader without node-1', 20_000, async () => {
      const now = await shown(second);
      return now.includes('node-1') && now.some((line) => line.endsWith('Leader'));
    });
    await eventually('node-1 is told that it is a worker', 20_000, async () =>
      (await words(first, 'node', 'ls')).includes("Worker nodes can't be used"),
    );
    await cluster.docker(['node', 'promote', 'node-1'], { node: second });
    await eventually('node-1 is back', 20_000, async () => (await shown(first)).includes('node-1 Reachable'));
    await cluster.docker(['node', 'demote', 'node-1'], { node: third });
    await eventually('node-1 is a worker', 20_000, async () => (await shown(second)).includes('node-1'));
  });

  it('lets a worker leave, warns a manager, and removes who has left', async () => {
    expect(await words(second, 'swarm', 'leave')).to.match(
      /participating as a manager\. Removing this node leaves 1 managers out of 2/,
    );
    await cluster.docker(['swarm', 'leave'], { node: worker });
    expect(await cluster.docker(['ps', '--format', '{{.Names}}'], { node: worker })).to.equal('alone');
    await eventually('node-4 down', 20_000, async () => {
      const format = ['node', 'ls', '--format', '{{.Hostname}} {{.Status}}'];
      return (await cluster.docker(format, { node: second })).includes('node-4 Down');
    });
    await cluster.docker(['node', 'rm', 'node-4'], { node: second });
    await cluster.docker(['swarm', 'leave', '--force'], { node: third });
    await eventually('node-2 leads alone', 20_000, async () => {
      const now = await shown(second);
      return now.includes('node-2 Leader') && now.includes('node-3');
    });
    await cluster.docker(['node', 'rm', '--force', 'node-3'], { node: second });
    expect(await words(second, 'node', 'demote', 'node-2')).to.contain('last manager of the swarm');
    expect(await words(second, 'swarm', 'leave')).to.contain('Removing the last manager erases');
    await cluster.docker(['swarm', 'leave', '--force'], { node: second });
    expect(
      await cluster.docker(['info', '--format', '{{.Swarm.LocalNodeState}}'], { node: second }),
    ).to.equal('inactive');
  });
});
