import { expect } from 'chai';
import type { BalanceItem, NetworkId, NetworkItem, NodeId } from '#libs/model';
import type { NetworkProgram } from '../port.js';
import { desiredKernelState, emptyKernelState } from './desired-state.js';
import { containerDevice, containerPrefix, nodeMacAddress, overlayDevice, rulePriorities } from './names.js';
import { diffKernelStates, forwardingRemovals } from './reconcile.js';
import { SingleRouteTable } from './single-routes.js';

const self = 'n1' as NodeId;
const options = {
  tag: 'dev1',
  markBase: 0x0e000000,
  address: '192.0.2.1',
  mtu: 1450,
  local: [],
  singleRoutes: new Map(),
};
const front: NetworkItem = {
  kind: 'network',
  id: 'front' as NetworkId,
  name: 'front',
  subnet: '10.0.0.0/16',
  vni: 4096,
  internal: false,
  blocks: { n1: ['10.0.1.0/24'], n2: ['10.0.2.0/24'] } as Record<NodeId, string[]>,
};

function programOf(peers: number[], networks = [front], balance: BalanceItem[] = []): NetworkProgram {
  return {
    generation: 1,
    self,
    settings: { kind: 'settings', id: 'settings', dataPathPort: 4790, addressPools: [] },
    networks,
    peers: peers.map((index) => ({
      kind: 'peer',
      id: `n${index}` as NodeId,
      hostname: `n${index}`,
      index,
      address: `192.0.2.${index}`,
    })),
    balance,
  };
}

describe('kernel objects', () => {
  const one = desiredKernelState(programOf([1]), options);
  const two = desiredKernelState(programOf([1, 2]), options);

  it('come in an order in which each finds what it needs', () => {
    const { addIp, addBridge, newDevices, removeIp } = diffKernelStates(emptyKernelState(), two, true);
    expect({ addIp, addBridge, newDevices, removeIp }).to.deep.equal({
      addIp: [
        'link add xdev1-35s address 02:65:6e:78:00:01 mtu 1450 type vxlan id 4096 dstport 4790 local 192.0.2.1 nolearning',
        'link set xdev1-35s addrgenmode none',
        'link set xdev1-35s up',
        'neigh replace 192.0.2.2 lladdr 02:65:6e:78:00:02 dev xdev1-35s nud permanent',
        'route replace 10.0.0.0/16 dev xdev1-35s scope link src 192.0.2.1',
        'route replace unreachable 10.0.1.0/24 metric 234881025',
        'route replace 10.0.2.0/24 via 192.0.2.2 dev xdev1-35s onlink src 192.0.2.1',
        'route replace default table 234881026 via 192.0.2.2 dev xdev1-35s onlink',
        'rule add pref 25688 ipproto udp dport 4790 lookup main',
        'rule add pref 25689 fwmark 0xe000002 lookup 234881026',
      ],
      addBridge: ['fdb replace 02:65:6e:78:00:02 dev xdev1-35s dst 192.0.2.2 self permanent'],
      newDevices: ['xdev1-35s'],
      removeIp: [],
    });
  });

  it('stay untouched when nothing changed', () => {
    const changes = diffKernelStates(two, desiredKernelState(programOf([1, 2]), options), false);
    expect(changes).to.deep.equal({ addIp: [], addBridge: [], newDevices: [], removeIp: [] });
  });

  it('of a node that left go, and only they', () => {
    const changes = diffKernelStates(two, one, false);
    expect(changes.addIp).to.deep.equal([]);
    expect(changes.removeIp).to.deep.equal([
      'rule del pref 25689 fwmark 0xe000002 lookup 234881026',
      'route del 10.0.2.0/24 dev xdev1-35s',
      'route del default table 234881026 dev xdev1-35s',
      'neigh del 192.0.2.2 dev xdev1-35s',
    ]);
    expect(forwardingRemovals(two, one)).to.deep.equal(['fdb del 02:65:6e:78:00:02 dev xdev1-35s self']);
  });

  it('of a network go with its device', () => {
    const none = desiredKernelState(programOf([1, 2], []), options);
    expect(diffKernelStates(two, none, false).removeIp).to.deep.equal([
      'rule del pref 25689 fwmark 0xe000002 lookup 234881026',
      'route del unreachable 10.0.1.0/24',
      'link del xdev1-35s',
    ]);
  });

  it('are made again with a device whose settings changed', () => {
    const moved = desiredKernelState(programOf([1, 2], [{ ...front, vni: 4096 }]), {
      ...options,
      address: '192.0.2.1',
    });
    const old = structuredClone(two);
    const device = old.devices.get('xdev1-35s');
    if (device) device.port = 4789;
    const { addIp, addBridge } = diffKernelStates(old, moved, false);
    expect(addIp[0]).to.equal('link del xdev1-35s');
    expect(addIp).to.include('route replace 10.0.2.0/24 via 192.0.2.2 dev xdev1-35s onlink src 192.0.2.1');
    expect(addBridge).to.have.length(1);
  });
});

describe('names of kernel objects', () => {
  it('fit the kernel and never share a prefix with another cluster', () => {
    expect(overlayDevice('abcdefgh', 2 ** 24 - 1)).to.have.length(15);
    expect(containerDevice('abcdefgh', 'f'.repeat(64), 3)).to.have.length(15);
    expect(containerDevice('abcdefgh', 'f'.repeat(64), 3).startsWith(containerPrefix('abcdefgh'))).to.equal(
      true,
    );
    expect(overlayDevice('dev10', 4096).startsWith(overlayDevice('dev1', 4096).slice(0, 6))).to.equal(false);
    expect(nodeMacAddress(4094)).to.equal('02:65:6e:78:0f:fe');
  });

  it('give 20,000 containers 20,000 devices', () => {
    const names = new Set(
      Array.from({ length: 20_000 }, (_, index) => containerDevice('dev', `container${index}`, 0)),
    );
    expect(names.size).to.equal(20_000);
  });

  it('put rules between the local and the main table', () => {
    for (let base = 0; base < 2 ** 32; base += 2 ** 25) {
      const { overlay, marks } = rulePriorities(base >>> 0);
      expect(overlay).to.be.within(1, 32_764);
      expect(marks).to.equal(overlay + 1);
    }
  });
});

describe('SingleRouteTable', () => {
  const small: NetworkItem = { ...front, id: 'small' as NetworkId, subnet: '10.9.0.0/28', blocks: {} };
  const item = (nodeId: string): BalanceItem =>
    ({
      endpoints: [{ taskId: 't', nodeId, slot: 1, networks: [{ networkId: 'small', address: '10.9.0.3' }] }],
    }) as unknown as BalanceItem;
  const routes = (table: SingleRouteTable, balance: BalanceItem[], nowMs: number): unknown => [
    ...(table.update(programOf([1, 2], [front, small], balance), nowMs).get('small') ?? []),
  ];

  it('keeps the way to an endpoint that left for a while, and follows the address to another node', () => {
    const table = new SingleRouteTable();
    expect(routes(table, [item('n2')], 0)).to.deep.equal([['10.9.0.3', 'n2']]);
    expect(routes(table, [], 1000), 'just gone').to.deep.equal([['10.9.0.3', 'n2']]);
    expect(routes(table, [item('n1')], 2000), 'given out again').to.deep.equal([['10.9.0.3', 'n1']]);
    expect(routes(table, [], 3000)).to.deep.equal([['10.9.0.3', 'n1']]);
    expect(routes(table, [], 3000 + 16 * 60_000), 'long gone').to.deep.equal([]);
  });
});
