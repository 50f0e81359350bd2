import { expect } from 'chai';
import type { NodeId, ServiceEndpoint } from '#libs/model';
import { findPortConflict, findSubnetConflict, planNetworkAllocation } from './index.js';
import { applied, emptyCluster, network, node, service, task, viewOf } from './test-view.js';
import type { TestObjects } from './test-view.js';

function allocated(objects: TestObjects): TestObjects {
  const next = applied(objects, planNetworkAllocation(viewOf(objects), 1000));
  expect(planNetworkAllocation(viewOf(next), 2000), 'a second pass has nothing to do').to.deep.equal([]);
  return next;
}

function endpointOf(objects: TestObjects, name: string): ServiceEndpoint | undefined {
  return objects.services.find((entry) => entry.spec.Name === name)?.endpoint;
}

function ports(objects: TestObjects, name: string): string[] | undefined {
  return endpointOf(objects, name)?.ports.map(
    (port) => `${port.PublishedPort}:${port.TargetPort}/${port.Protocol}`,
  );
}

describe('planNetworkAllocation', () => {
  it('takes a new service to pending tasks in one pass: subnet, identifier, virtual IP, ports', () => {
    const web = service('web', { ports: [{ TargetPort: 80, PublishedPort: 8080 }] });
    const next = allocated({
      ...emptyCluster(),
      networks: [network('ingress')],
      services: [web],
      tasks: [task('t1', web)],
    });
    expect(next.networks[0]).to.include({ subnet: '10.0.0.0/16', vni: 4096 });
    const endpoint = endpointOf(next, 'web');
    expect(endpoint?.virtualIps).to.have.length(1);
    expect(endpoint?.virtualIps[0]?.address).to.match(/^10\.0\.0\.\d+$/);
    expect(ports(next, 'web')).to.deep.equal(['8080:80/tcp']);
    expect(next.tasks[0]?.status).to.deep.equal({
      state: 'pending',
      atMs: 1000,
      message: 'pending task scheduling',
    });
  });

  it('steers clear of other networks and of the addresses nodes have', () => {
    const next = allocated({
      ...emptyCluster(['10.88.0.0/14'], 16),
      nodes: [node('n1', '10.89.0.2')],
      networks: [network('a'), network('b', {}, '10.88.128.0/24'), network('c'), network('ingress')],
    });
    expect(Object.fromEntries(next.networks.map((entry) => [entry.spec.Name, entry.subnet]))).to.deep.equal({
      a: '10.90.0.0/16',
      b: '10.88.128.0/24',
      c: '10.91.0.0/16',
      ingress: undefined,
    });
  });

  it('says why a network, and with it a task, has to wait', () => {
    const app = service('app', { networks: ['mine'] });
    const lost = service('lost', { networks: ['nowhere'] });
    const next = allocated({
      ...emptyCluster(),
      networks: [
        network('ingress'),
        network('mine', {}, '10.0.5.0/24'),
        network('other', { subnet: '10.0.0.0/16', vni: 4096 }),
      ],
      services: [app, lost],
      tasks: [task('t1', app), task('t2', lost)],
    });
    expect(next.tasks.map((entry) => [entry.status.state, entry.status.error])).to.deep.equal([
      ['new', 'subnet 10.0.5.0/24 overlaps with 10.0.0.0/16 of network other'],
      ['new', 'network nowhere not found'],
    ]);
    expect(endpointOf(next, 'app')).to.equal(undefined);
  });

  it('keeps addresses and dynamic ports when the spec moves on, and frees what it drops', () => {
    const web = service('web', { ports: [{ TargetPort: 80 }, { TargetPort: 53, Protocol: 'udp' }] });
    const first = allocated({
      ...emptyCluster(),
      networks: [network('ingress'), network('extra')],
      services: [web],
    });
    expect(ports(first, 'web')).to.deep.equal(['30000:80/tcp', '30001:53/udp']);
    const before = endpointOf(first, 'web');
    const moved = structuredClone(first);
    const spec = moved.services[0]?.spec;
    if (!spec) throw new Error('no service');
    spec.EndpointSpec = {
      Ports: [
        { TargetPort: 53, Protocol: 'udp' },
        { TargetPort: 443, PublishedPort: 8443 },
      ],
    };
    spec.TaskTemplate = { Networks: [{ Target: 'ingress' }, { Target: 'extra' }] };
    const second = allocated(moved);
    expect(ports(second, 'web')).to.deep.equal(['30001:53/udp', '8443:443/tcp']);
    expect(endpointOf(second, 'web')?.virtualIps[0]).to.deep.equal(before?.virtualIps[0]);
    expect(endpointOf(second, 'web')?.virtualIps).to.have.length(2);
    const third = allocated({
      ...second,
      services: [...second.services, service('x', { ports: [{ TargetPort: 1 }] })],
    });
    expect(ports(third, 'x')).to.deep.equal(['30000:1/tcp']);
  });

  it('gives dnsrr services no virtual IP', () => {
    const next = allocated({
      ...emptyCluster(),
      networks: [network('ingress')],
      services: [service('db', { mode: 'dnsrr' })],
    });
    expect(endpointOf(next, 'db')).to.deep.equal({ mode: 'dnsrr', virtualIps: [], ports: [] });
  });

  it('lets the older of two claims on a port have it', () => {
    const next = allocated({
      ...emptyCluster(),
      networks: [network('ingress')],
      services: [
        service('a', { ports: [{ TargetPort: 80, PublishedPort: 80 }] }),
        service('b', { ports: [{ TargetPort: 80, PublishedPort: 80 }] }),
      ],
    });
    expect(ports(next, 'a')).to.deep.equal(['80:80/tcp']);
    expect(endpointOf(next, 'b')).to.equal(undefined);
  });

  it('gives more virtual IPs than the first block has, each its own', () => {
    const services = Array.from({ length: 600 }, (_, index) => service(`s${index}`));
    const next = allocated({ ...emptyCluster(), networks: [network('ingress')], services });
    const given = new Set(next.services.map((entry) => entry.endpoint?.virtualIps[0]?.address));
    expect(given.size).to.equal(600);
    expect([...given].some((address) => address?.startsWith('10.0.255.'))).to.equal(true);
    expect(given.has('10.0.0.1'), 'the gateway').to.equal(false);
  });

  it('takes back the blocks of nodes that left, unless a task of theirs may still run', () => {
    const web = service('web');
    const gone = 'gone' as NodeId;
    const busy = 'busy' as NodeId;
    const status = { state: 'running', atMs: 0, message: '' } as const;
    const next = allocated({
      ...emptyCluster(),
      nodes: [node('here')],
      services: [web],
      networks: [
        network('ingress', {
          subnet: '10.0.0.0/16',
          vni: 4096,
          blocks: { here: ['10.0.1.0/24'], [gone]: ['10.0.2.0/24'], [busy]: ['10.0.3.0/24'] } as Record<
            NodeId,
            string[]
          >,
        }),
      ],
      tasks: [task('t1', web, { nodeId: busy, status })],
    });
    expect(next.networks[0]?.blocks).to.deep.equal({ here: ['10.0.1.0/24'], busy: ['10.0.3.0/24'] });
  });
});

describe('findPortConflict', () => {
  const taken = service('taken', {
    ports: [
      { TargetPort: 80, PublishedPort: 8080 },
      { TargetPort: 81, PublishedPort: 8081, PublishMode: 'host' },
    ],
  });
  const view = viewOf({ ...emptyCluster(), services: [taken] });
  const cases: [string, Parameters<typeof service>[1], string | undefined][] = [
    ['another port', { ports: [{ TargetPort: 80, PublishedPort: 8082 }] }, undefined],
    ['another protocol', { ports: [{ TargetPort: 80, PublishedPort: 8080, Protocol: 'udp' }] }, undefined],
    [
      'an ingress port',
      { ports: [{ TargetPort: 80, PublishedPort: 8080 }] },
      "port '8080' is already in use by service 'taken' (svc-taken) as an ingress port",
    ],
    [
      'a host port where an ingress port is',
      { ports: [{ TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' }] },
      "port '8080' is already in use by service 'taken' (svc-taken) as an ingress port",
    ],
    [
      'an ingress port where a host port is',
      { ports: [{ TargetPort: 80, PublishedPort: 8081 }] },
      "port '8081' is already in use by service 'taken' (svc-taken) as a host-published port",
    ],
    ['two host ports', { ports: [{ TargetPort: 80, PublishedPort: 8081, PublishMode: 'host' }] }, undefined],
    ['no number', { ports: [{ TargetPort: 80 }] }, undefined],
    [
      'itself twice',
      {
        ports: [
          { PublishedPort: 9, TargetPort: 1 },
          { PublishedPort: 9, TargetPort: 2 },
        ],
      },
      "EndpointSpec: duplicate published ports provided: '9/tcp'",
    ],
  ];
  for (const [name, rest, expected] of cases) {
    it(name, () => {
      expect(findPortConflict(view, { spec: service('new', rest).spec })).to.equal(expected);
    });
  }

  it('never finds a service in its own way', () => {
    expect(findPortConflict(view, taken)).to.equal(undefined);
  });
});

describe('findSubnetConflict', () => {
  const view = viewOf({
    ...emptyCluster(),
    nodes: [node('n1', '192.0.2.7')],
    networks: [network('a', { subnet: '10.0.0.0/16', vni: 4096 })],
  });
  const cases: [string, string | undefined][] = [
    ['10.1.0.0/16', undefined],
    ['10.0.9.0/24', 'subnet 10.0.9.0/24 overlaps with 10.0.0.0/16 of network a'],
    ['192.0.2.0/24', 'subnet 192.0.2.0/24 contains the address of a node'],
    ['fd00::/64', 'invalid subnet fd00::/64: not an IPv4 CIDR'],
    ['10.1.0.0/31', 'invalid subnet 10.1.0.0/31: the prefix may be /29 at most'],
  ];
  for (const [subnet, expected] of cases) {
    it(subnet, () => {
      expect(findSubnetConflict(view, network('new', {}, subnet))).to.equal(expected);
    });
  }
});
