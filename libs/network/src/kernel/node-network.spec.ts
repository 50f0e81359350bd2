/** Three nodes, a client and containers on a real kernel, each in its own network namespace. */
import { readdirSync } from 'node:fs';
import { expect } from 'chai';
import type {
  BalanceItem,
  ContainerInterface,
  NetworkId,
  NetworkItem,
  NodeId,
  ServiceId,
  TaskId,
} from '#libs/model';
import type { NetworkProgram } from '../port.js';
import { runCommand } from './command.js';
import { eventually, TestWorld } from './test-world.js';
import type { TestNode } from './test-world.js';

const gateway = '169.254.77.1';
const addresses = { a: '192.0.2.1', b: '192.0.2.2', c: '192.0.2.3', client: '192.0.2.9' };
const front = 'net-front' as NetworkId;
const back = 'net-back' as NetworkId;
const small = 'net-small' as NetworkId;
const nodeA = 'node-a' as NodeId;
const nodeB = 'node-b' as NodeId;
/** Runs no task: it only passes connections on. */
const nodeC = 'node-c' as NodeId;
const vip = { web: '10.77.0.20', api: '10.78.0.20', empty: '10.77.0.30' };

const networks: NetworkItem[] = [
  {
    kind: 'network',
    id: front,
    name: 'front',
    subnet: '10.77.0.0/16',
    vni: 4096,
    internal: false,
    blocks: { [nodeA]: ['10.77.1.0/24'], [nodeB]: ['10.77.2.0/24'] },
  },
  {
    kind: 'network',
    id: back,
    name: 'back',
    subnet: '10.78.0.0/16',
    vni: 4097,
    internal: true,
    blocks: { [nodeB]: ['10.78.2.0/24'] },
  },
  {
    kind: 'network',
    id: small,
    name: 'small',
    subnet: '10.79.0.0/28',
    vni: 4098,
    internal: false,
    blocks: {},
  },
];

interface Container {
  task: string;
  node: NodeId;
  service: string;
  networks: { networkId: NetworkId; address: string }[];
}

const containers: Container[] = [
  { task: 'web1', node: nodeA, service: 'web', networks: [{ networkId: front, address: '10.77.1.5' }] },
  { task: 'web2', node: nodeB, service: 'web', networks: [{ networkId: front, address: '10.77.2.5' }] },
  {
    task: 'api1',
    node: nodeB,
    service: 'api',
    networks: [
      { networkId: back, address: '10.78.2.5' },
      { networkId: small, address: '10.79.0.5' },
    ],
  },
];

function balance(
  service: string,
  live: readonly string[],
  rest: Partial<BalanceItem['endpoint']>,
): BalanceItem {
  const endpoints = containers.filter(
    (container) => container.service === service && live.includes(container.task),
  );
  return {
    kind: 'balance',
    id: `svc${service}` as ServiceId,
    name: service,
    aliases: (service === 'web' ? { [front]: ['www'] } : {}) as Record<NetworkId, string[]>,
    endpoint: { mode: 'vip', virtualIps: [], ports: [], ...rest },
    endpoints: endpoints.map((container, index) => ({
      taskId: container.task as TaskId,
      nodeId: container.node,
      slot: index + 1,
      networks: container.networks,
    })),
  };
}

function programFor(self: NodeId, generation: number, live: readonly string[]): NetworkProgram {
  return {
    generation,
    self,
    settings: { kind: 'settings', id: 'settings', dataPathPort: 4789, addressPools: ['10.0.0.0/8'] },
    networks,
    peers: [
      { kind: 'peer', id: nodeA, hostname: 'a', index: 1, address: addresses.a },
      { kind: 'peer', id: nodeB, hostname: 'b', index: 2, address: addresses.b },
      { kind: 'peer', id: nodeC, hostname: 'c', index: 3, address: addresses.c },
    ],
    balance: [
      balance('web', live, {
        virtualIps: [{ networkId: front, address: vip.web }],
        ports: [
          { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' },
          { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8081, PublishMode: 'host' },
        ],
      }),
      balance('api', live, { virtualIps: [{ networkId: back, address: vip.api }] }),
      balance('empty', live, {
        virtualIps: [{ networkId: front, address: vip.empty }],
        ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8090, PublishMode: 'ingress' }],
      }),
    ],
  };
}

describe('node network on the kernel', function () {
  this.timeout(30_000);
  const world = new TestWorld();
  let a: TestNode;
  let b: TestNode;
  let c: TestNode;
  let client: string;
  const inside = new Map<string, string>();
  let generation = 0;
  const all = containers.map((container) => container.task);

  const nodeOptions = (short: 'a' | 'b' | 'c') => ({
    tag: 'test1',
    stateDir: `${world.stateDir}/${short}`,
    linkLocalGateway: gateway,
    markBase: 0x0e000000,
    address: addresses[short],
    dnsUpstreams: [],
  });

  async function apply(live: readonly string[]): Promise<void> {
    generation++;
    await Promise.all([
      a.send({ verb: 'apply', program: programFor(nodeA, generation, live) }),
      b.send({ verb: 'apply', program: programFor(nodeB, generation, live) }),
      c.send({ verb: 'apply', program: programFor(nodeC, generation, live) }),
    ]);
  }

  function container(task: string): string {
    return inside.get(task) ?? '';
  }

  /** Answers of several connections: `web1 <client>`, each once. */
  async function answers(from: string, address: string, port: number, count = 4): Promise<string[]> {
    const seen = new Set<string>();
    for (let i = 0; i < count; i++) {
      const answer = await world.ask(from, address, port);
      seen.add(answer?.replace(/ hello$/, '') ?? 'refused');
    }
    return [...seen].sort();
  }

  before(async () => {
    client = await world.machine('client', addresses.client);
    [a, b, c] = await Promise.all([
      world.node('a', nodeOptions('a')),
      world.node('b', nodeOptions('b')),
      world.node('c', nodeOptions('c')),
    ]);
    await apply([]);
    for (const { task, node, networks: attached } of containers) {
      const host = node === nodeA ? a : b;
      const interfaces = await host.send({ verb: 'interfacesFor', containerId: task, networks: attached });
      inside.set(task, await world.container(task, host, interfaces as ContainerInterface[]));
      await world.serve(container(task), 80, task);
    }
    await apply(all);
  });

  after(() => world.close());

  it('spreads a virtual address over tasks of both nodes, for tasks and for the node itself', async () => {
    expect(await answers(container('web1'), vip.web, 80)).to.deep.equal([
      // Through its own virtual address a task sees the node, the only one that can undo the translation.
      `web1 ${addresses.a}`,
      'web2 10.77.1.5',
    ]);
    expect(await answers(a.namespace, vip.web, 80)).to.deep.equal([
      `web1 ${addresses.a}`,
      `web2 ${addresses.a}`,
    ]);
  });

  it('publishes a port on every node and keeps the client address, wherever the task is', async () => {
    const both = [`web1 ${addresses.client}`, `web2 ${addresses.client}`];
    expect(await answers(client, addresses.a, 8080)).to.deep.equal(both);
    expect(await answers(client, addresses.b, 8080)).to.deep.equal(both);
  });

  it('keeps connections apart that come with one client port through two nodes', async () => {
    await apply(['web2', 'api1']);
    const asks = `
      const net = require('node:net');
      const open = (host) => new Promise((resolve, reject) => {
        const socket = net.connect({ host, port: 8080, localPort: 45678 });
        socket.once('error', reject);
        socket.setTimeout(2500, () => reject(new Error(host + ' is silent')));
        socket.once('data', (data) => resolve(String(data)));
        socket.write('hello');
      });
      Promise.all(['${addresses.a}', '${addresses.c}'].map(open)).then(
        (both) => { console.log(both.join(' | ')); process.exit(0); },
        (error) => { console.log(error.message); process.exit(1); },
      );
    `;
    const { stdout } = await runCommand('ip', ['netns', 'exec', client, process.execPath, '-e', asks]);
    const answer = `web2 ${addresses.client} hello`;
    expect(stdout.trim()).to.equal(`${answer} | ${answer}`);
    await apply(all);
  });

  it('serves a node that comes through another node, from its own task, too', async () => {
    expect(await answers(a.namespace, addresses.b, 8080)).to.deep.equal([
      `web1 ${addresses.b}`,
      `web2 ${addresses.a}`,
    ]);
  });

  it('publishes on localhost', async () => {
    expect(await answers(a.namespace, '127.0.0.1', 8080)).to.deep.equal([
      `web1 ${addresses.a}`,
      `web2 ${addresses.a}`,
    ]);
  });

  it('publishes a host port only where the task is', async () => {
    expect(await answers(client, addresses.a, 8081, 2)).to.deep.equal([`web1 ${addresses.client}`]);
    expect(await answers(client, addresses.b, 8081, 2)).to.deep.equal([`web2 ${addresses.client}`]);
  });

  it('refuses at once what has no endpoint', async () => {
    const startMs = Date.now();
    expect(await world.ask(container('web1'), vip.empty, 80)).to.equal(undefined);
    expect(await world.ask(client, addresses.b, 8090)).to.equal(undefined);
    // nc alone would wait 3 s for each.
    expect(Date.now() - startMs).to.be.below(2900);
  });

  it('gives containers outside services a network that ends at their node', async () => {
    const attach = async (node: TestNode, name: string, taken: string[] = []): Promise<string> => {
      const link = (await node.send({
        verb: 'localInterface',
        containerId: name,
        taken,
      })) as ContainerInterface;
      inside.set(name, await world.container(name, node, [link]));
      return link.address;
    };
    const first = await attach(a, 'local1');
    const second = await attach(a, 'local2', [first]);
    const elsewhere = await attach(b, 'local1b');
    expect(elsewhere.split('.', 2)).to.deep.equal(first.split('.', 2));
    await world.serve(container('local2'), 80, 'local2');
    expect(await world.ask(container('local1'), second, 80)).to.equal(`local2 ${first} hello`);
    expect(await world.ask(a.namespace, second, 80)).to.match(/^local2 /);
    // Out into the world, and to published ports on both nodes, with the node's address where others need to answer.
    await world.serve(client, 8070, 'outside');
    expect(await world.ask(container('local1'), addresses.client, 8070)).to.equal(
      `outside ${addresses.a} hello`,
    );
    expect(await answers(container('local1'), addresses.a, 8080)).to.deep.equal([
      `web1 ${first}`,
      `web2 ${addresses.a}`,
    ]);
    // Nobody else's.
    expect(await world.ask(container('local1'), '10.77.1.5', 80)).to.equal(undefined);
    expect(await world.ask(container('local1'), vip.web, 80)).to.equal(undefined);
    expect(await world.ask(container('web1'), second, 80)).to.equal(undefined);
    expect(await world.ask(b.namespace, second, 80)).to.equal(undefined);
  });

  it('keeps networks apart, and strangers out', async () => {
    expect(await world.ask(container('web2'), '10.78.2.5', 80), 'a task of another network').to.equal(
      undefined,
    );
    expect(await world.ask(container('web2'), vip.api, 80), 'its virtual address').to.equal(undefined);
    await runCommand('ip', ['-n', client, 'route', 'add', '10.77.0.0/16', 'via', addresses.a]);
    expect(await world.ask(client, '10.77.1.5', 80), 'a container from outside').to.equal(undefined);
    expect(await world.ask(client, vip.web, 80), 'a virtual address from outside').to.equal(undefined);
    expect(await world.ask(container('api1'), vip.api, 80), 'its own service').to.match(/^api1/);
  });

  it('reaches single addresses of a small subnet on another node', async () => {
    expect(await world.ask(a.namespace, '10.79.0.5', 80)).to.equal(`api1 ${addresses.a} hello`);
  });

  it('lets a container out as its node, unless its network is internal', async () => {
    await world.serve(client, 99, 'outside');
    expect(await world.ask(container('web1'), addresses.client, 99)).to.equal(`outside ${addresses.a} hello`);
  });

  it('answers names by the networks of the asker', async () => {
    const ask = async (from: string, name: string): Promise<string> => {
      const args = ['netns', 'exec', from, '/bin/busybox', 'nslookup', name, gateway];
      const { stdout, stderr } = await runCommand('ip', args);
      return stdout + stderr;
    };
    expect(await ask(container('web1'), 'web')).to.include(vip.web);
    expect(await ask(container('web1'), 'www')).to.include(vip.web);
    expect(await ask(container('web1'), 'tasks.web'))
      .to.include('10.77.1.5')
      .and.include('10.77.2.5');
    expect(await ask(container('web1'), 'web.2.web2')).to.include('10.77.2.5');
    expect(await ask(container('web1'), 'api'))
      .to.include('NXDOMAIN')
      .and.not.include(vip.api);
    expect(await ask(container('api1'), 'api')).to.include(vip.api);
  });

  it('takes an endpoint out: open connections stay, new ones go elsewhere', async () => {
    const held = world.background(client, ['/bin/busybox', 'nc', addresses.a, '8081']);
    let output = '';
    held.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    held.stdin?.write('one\n');
    await eventually('the first answer', async () => output.includes('one') || undefined);
    expect(
      await a.send({ verb: 'activeConnections', address: '10.77.1.5', idleMs: 60_000 }),
    ).to.be.greaterThan(0);
    await a.send({ verb: 'withdraw', taskId: 'web1' });
    expect(await answers(client, addresses.a, 8080)).to.deep.equal([`web2 ${addresses.client}`]);
    await apply(all);
    expect(await answers(client, addresses.a, 8080), 'a late program does not bring it back').to.deep.equal([
      `web2 ${addresses.client}`,
    ]);
    await apply(['web2', 'api1']);
    expect(await answers(client, addresses.b, 8080)).to.deep.equal([`web2 ${addresses.client}`]);
    held.stdin?.write('two\n');
    await eventually(
      'the second answer',
      async () => output.includes(`web1 ${addresses.client} two`) || undefined,
    );
  });

  it('loses no connection while endpoints come and go', async () => {
    const load = `
      const net = require('node:net');
      const hosts = ['${addresses.a}', '${addresses.b}', '${addresses.c}'];
      let left = 1500, done = 0, failed = 0;
      const one = () => {
        if (left-- <= 0) return;
        const socket = net.connect({ host: hosts[left % 3], port: 8080 });
        let answered = false;
        socket.setTimeout(5000, () => socket.destroy());
        socket.on('error', () => undefined);
        socket.on('connect', () => socket.write('hello'));
        socket.on('data', () => { answered = true; socket.end(); });
        socket.on('close', () => { done++; if (!answered) failed++; one(); });
      };
      for (let i = 0; i < 12; i++) one();
      process.on('exit', () => console.log(done + ' connections, ' + failed + ' failed'));
    `;
    let finished = false;
    const running = runCommand('ip', ['netns', 'exec', client, process.execPath, '-e', load]).finally(() => {
      finished = true;
    });
    let changes = 0;
    while (!finished) await apply([['web1'], ['web2'], all][changes++ % 3] ?? all);
    expect(changes).to.be.greaterThan(3);
    expect((await running).stdout.trim()).to.equal('1500 connections, 0 failed');
    await apply(['web2', 'api1']);
  });

  it('comes back after a kill without a break, and mends what others destroyed', async () => {
    const held = world.background(client, ['/bin/busybox', 'nc', addresses.a, '8080']);
    let output = '';
    held.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    held.stdin?.write('one\n');
    await eventually('the first answer', async () => output.includes('one') || undefined);
    await a.end();
    expect(await answers(client, addresses.a, 8080, 1), 'the kernel balances alone').to.deep.equal([
      `web2 ${addresses.client}`,
    ]);
    a = await world.restart('a', nodeOptions('a'));
    // Its own copy of the last program serves names before anyone talks to it.
    const lookup = ['netns', 'exec', container('web1'), '/bin/busybox', 'nslookup', 'web', gateway];
    expect((await runCommand('ip', lookup)).stdout).to.include(vip.web);
    await apply(['web2', 'api1']);
    held.stdin?.write('two\n');
    await eventually('the second answer', async () => output.includes('two') || undefined);
    await runCommand('ip', ['netns', 'exec', a.namespace, 'nft', 'flush', 'ruleset']);
    await runCommand('ip', ['-n', a.namespace, 'link', 'del', 'xtest1-35s']);
    await apply(all);
    expect(await answers(client, addresses.a, 8080)).to.deep.equal([
      `web1 ${addresses.client}`,
      `web2 ${addresses.client}`,
    ]);
  });

  it('forgets UDP flows to an endpoint that left', async () => {
    await apply(all);
    const args = ['netns', 'exec', a.namespace, 'conntrack', '-L', '-p', 'udp'];
    await runCommand('ip', ['netns', 'exec', a.namespace, 'bash', '-c', `echo x > /dev/udp/${vip.web}/5000`]);
    expect((await runCommand('ip', args)).stdout).to.include(`dst=${vip.web}`);
    await apply([]);
    await eventually(
      'the end of the flow',
      async () => !(await runCommand('ip', args)).stdout.includes(`dst=${vip.web}`) || undefined,
    );
  });

  it('leaves nothing behind', async () => {
    const before = await runCommand('ip', ['-n', client, 'rule']);
    await a.send({ verb: 'destroy' });
    const rules = await runCommand('ip', ['-n', a.namespace, 'rule']);
    expect(rules.stdout).to.equal(before.stdout);
    const links = await runCommand('ip', ['-n', a.namespace, '-br', 'link']);
    expect(
      links.stdout
        .split('\n')
        .map((line) => line.split(/[\s@]/)[0])
        .filter(Boolean),
    ).to.deep.equal(['lo', 'eth0']);
    const nft = await runCommand('ip', ['netns', 'exec', a.namespace, 'nft', 'list', 'ruleset']);
    expect(nft.stdout).to.equal('');
    const lo = await runCommand('ip', ['-n', a.namespace, '-br', 'addr', 'show', 'lo']);
    expect(lo.stdout).to.not.include(gateway);
    const settings = async (namespace: string): Promise<string> => {
      const names = ['net.ipv4.ip_forward', 'net.ipv4.conf.all.route_localnet'];
      return (await runCommand('ip', ['netns', 'exec', namespace, 'sysctl', ...names])).stdout;
    };
    // The client's namespace began with the same settings and was never touched.
    expect(await settings(a.namespace)).to.equal(await settings(client));
    expect(readdirSync(`${world.stateDir}/a`)).to.deep.equal([]);
  });
});
