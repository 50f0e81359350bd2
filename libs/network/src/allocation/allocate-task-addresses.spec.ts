import { expect } from 'chai';
import type { NodeId, Task } from '#libs/model';
import { contains, parseIpv4, parsePrefix } from '../ipv4.js';
import { allocateTaskAddresses, planNetworkAllocation } from './index.js';
import { applied, emptyCluster, network, service, task, viewOf } from './test-view.js';
import type { TestObjects } from './test-view.js';

const n1 = 'n1' as NodeId;
const n2 = 'n2' as NodeId;

function prepared(objects: TestObjects): TestObjects {
  return applied(objects, planNetworkAllocation(viewOf(objects), 0));
}

/** Places tasks and gives the cluster that the scheduler's transaction would leave. */
function placed(objects: TestObjects, placements: { task: Task; nodeId: NodeId }[]) {
  const result = allocateTaskAddresses(viewOf(objects), placements);
  const next = applied(objects, result.changes);
  for (const { task: subject, nodeId } of placements) {
    const networks = result.networks.get(subject.id);
    const row = next.tasks.find((entry) => entry.id === subject.id);
    if (row && networks)
      Object.assign(row, { nodeId, networks, status: { state: 'running', atMs: 0, message: '' } });
  }
  return { result, next };
}

function inside(prefix: string | undefined, address: string | undefined): boolean {
  const range = parsePrefix(prefix ?? '');
  return range !== undefined && contains(range, parseIpv4(address ?? '') ?? -1);
}

describe('allocateTaskAddresses', () => {
  it('gives each node a block of its own, once, and addresses inside it', () => {
    const web = service('web');
    const tasks = ['a', 'b', 'c'].map((name) => task(name, web));
    const world = prepared({ ...emptyCluster(), networks: [network('ingress')], services: [web], tasks });
    const [a, b, c] = tasks as [Task, Task, Task];
    const first = placed(world, [
      { task: a, nodeId: n1 },
      { task: b, nodeId: n2 },
    ]);
    const blocks = first.next.networks[0]?.blocks;
    expect(blocks).to.deep.equal({ n1: ['10.0.1.0/24'], n2: ['10.0.2.0/24'] });
    expect(first.result.changes[0]).to.include({ table: 'networks', ifVersion: 2 });
    expect(inside('10.0.1.0/24', first.result.networks.get(a.id)?.[0]?.address)).to.equal(true);
    expect(inside('10.0.2.0/24', first.result.networks.get(b.id)?.[0]?.address)).to.equal(true);
    const second = placed(first.next, [{ task: c, nodeId: n1 }]);
    expect(second.result.changes, 'the node has its block').to.deep.equal([]);
  });

  it('never gives an address twice, and goes on in a second block', () => {
    const web = service('web');
    const tasks = Array.from({ length: 400 }, (_, index) => task(`t${index}`, web));
    const world = prepared({ ...emptyCluster(), networks: [network('ingress')], services: [web], tasks });
    const { result, next } = placed(
      world,
      tasks.map((entry) => ({ task: entry, nodeId: n1 })),
    );
    const addresses = [...result.networks.values()].map((networks) => networks[0]?.address);
    expect(new Set(addresses).size).to.equal(400);
    expect(next.networks[0]?.blocks).to.deep.equal({ n1: ['10.0.1.0/24', '10.0.2.0/24'] });
    expect(addresses.some((address) => address?.endsWith('.0') || address?.endsWith('.255'))).to.equal(false);
  });

  it('takes single addresses of a small subnet until it is full, and says so then', () => {
    const web = service('web', { networks: ['tiny'] });
    const tasks = Array.from({ length: 5 }, (_, index) => task(`t${index}`, web));
    const world = prepared({
      ...emptyCluster(),
      networks: [network('ingress'), network('tiny', {}, '10.9.9.0/29')],
      services: [web],
      tasks,
    });
    const { result } = placed(
      world,
      tasks.map((entry, index) => ({ task: entry, nodeId: index % 2 ? n1 : n2 })),
    );
    expect(result.changes).to.deep.equal([]);
    // Eight addresses less network, broadcast, gateway and virtual IP.
    expect(result.networks.size).to.equal(4);
    expect([...result.failures.values()]).to.deep.equal(['network tiny has no free address']);
  });

  it('reuses an address only when its task is over', () => {
    const web = service('web', { networks: ['tiny'] });
    const [a, b] = [task('a', web), task('b', web)];
    const used = ['10.9.9.2', '10.9.9.3', '10.9.9.4', '10.9.9.5', '10.9.9.6'];
    const world: TestObjects = {
      ...emptyCluster(),
      networks: [network('ingress'), network('tiny', { subnet: '10.9.9.0/29', vni: 5000 })],
      services: [web],
      tasks: [a, b],
    };
    const others = used.map((address, index) =>
      task(`other${index}`, web, {
        nodeId: n1,
        networks: [{ networkId: 'net-tiny' as never, address }],
        status: { state: index === 3 ? 'failed' : 'running', atMs: 0, message: '' },
      }),
    );
    const result = allocateTaskAddresses(viewOf({ ...world, tasks: [a, b, ...others] }), [
      { task: a, nodeId: n1 },
      { task: b, nodeId: n1 },
    ]);
    expect(result.networks.get(a.id)).to.deep.equal([{ networkId: 'net-tiny', address: '10.9.9.5' }]);
    expect(result.failures.get(b.id)).to.equal('network tiny has no free address');
  });

  it('gives a task all its addresses or none', () => {
    const web = service('web', { networks: ['front', 'full'] });
    const subject = task('a', web);
    const world: TestObjects = {
      ...emptyCluster(),
      networks: [
        network('front', { subnet: '10.1.0.0/24', vni: 4096 }),
        network('full', { subnet: '10.2.0.0/20', vni: 4097, blocks: fullBlocks() }),
      ],
      services: [web],
      tasks: [subject],
    };
    const result = allocateTaskAddresses(viewOf(world), [{ task: subject, nodeId: n1 }]);
    expect(result.networks.size).to.equal(0);
    expect(result.failures.get(subject.id)).to.equal('network full has no free address block');
    expect(result.changes).to.deep.equal([]);
  });
});

/** All 255 blocks of a /20 in the hands of another node. */
function fullBlocks(): Record<NodeId, string[]> {
  const blocks: string[] = [];
  for (let base = 16; base < 4096; base += 16) blocks.push(`10.2.${base >> 8}.${base & 255}/28`);
  return { [n2]: blocks } as Record<NodeId, string[]>;
}
