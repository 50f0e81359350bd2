import { describeError, type ContainerId } from '#libs/model';
import { expect } from 'chai';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ContainerConfig, ContainerState, RuntimeEvent } from '#libs/runtime';
import { ContainerNetworks, type ContainerNetworksOptions } from './container-networks.js';
import { gatewayIn } from './gateway.js';
import { LocalNetworks, type LocalNetworkRecord } from './local-networks.js';
import { TakenAddresses } from './taken-addresses.js';
import { localProgramOf } from './local-program.js';

const words = (action: () => unknown): string => {
  try {
    action();
    return 'no refusal';
  } catch (error) {
    return describeError(error);
  }
};

function networkNamed(name: string): Omit<LocalNetworkRecord, 'id'> {
  return {
    name,
    subnet: '172.18.0.0/16',
    gateway: '172.18.0.1',
    internal: false,
    attachable: false,
    labels: {},
    options: {},
    createdAtMs: 1,
  };
}

describe('networks of one node', () => {
  const folder = mkdtempSync(join(tmpdir(), 'enxame-networks-'));
  after(() => rmSync(folder, { recursive: true }));

  it('are there again after a restart, and found by name, id and the beginning of an id', () => {
    const networks = new LocalNetworks(folder);
    networks.load();
    const mine = networks.add(networkNamed('mine'));
    const gone = networks.add(networkNamed('gone'));
    networks.remove(gone.id);
    expect(words(() => networks.add(networkNamed('mine')))).to.equal('network with name mine already exists');

    const later = new LocalNetworks(folder);
    later.load();
    expect(later.list()).to.deep.equal([mine]);
    for (const reference of ['mine', mine.id, mine.id.slice(0, 12)])
      expect(later.find(reference), reference).to.deep.equal(mine);
    expect(later.find('gone')).to.equal(undefined);
  });

  it('stop the start when their file is damaged', () => {
    writeFileSync(join(folder, 'local-networks.json'), '[{');
    expect(words(() => new LocalNetworks(folder).load())).to.include('local-networks.json is no JSON');
  });

  it('have the node under their first address, or the one that was asked for', () => {
    expect(gatewayIn('172.18.0.0/16', undefined)).to.equal('172.18.0.1');
    expect(gatewayIn('10.1.2.0/24', '10.1.2.200')).to.equal('10.1.2.200');
    for (const outside of ['10.1.3.1', '10.1.2.0', '10.1.2.255'])
      expect(words(() => gatewayIn('10.1.2.0/24', outside))).to.include(`invalid gateway ${outside}`);
  });

  it('show the kernel where running containers are, how they are called and which ports lead to them', () => {
    const network = { id: 'n1', ...networkNamed('mine') };
    const link = {
      address: '172.18.0.5',
      defaultRoute: true,
      network: { id: 'n1', name: 'mine', aliases: ['db'] },
    };
    const config = {
      id: 'c'.repeat(64),
      name: 'web',
      hostname: 'cccccccccccc',
      network: { interfaces: [link], ports: [{ protocol: 'tcp', containerPort: 80, hostPort: 8080 }] },
    } as unknown as ContainerConfig;
    const bridged = {
      ...config,
      network: { interfaces: [{ address: '172.17.0.9', defaultRoute: true }], ports: [] },
    } as unknown as ContainerConfig;
    expect(localProgramOf([network], [config, bridged])).to.deep.equal({
      networks: [{ id: 'n1', subnet: '172.18.0.0/16', gateway: '172.18.0.1', internal: false }],
      endpoints: [
        {
          addresses: [{ networkId: 'n1', address: '172.18.0.5', names: ['web', 'db', 'cccccccccccc'] }],
          asksFrom: ['172.18.0.5'],
          ports: [{ protocol: 'tcp', hostPort: 8080, address: '172.18.0.5', port: 80 }],
        },
      ],
    });
  });

  it('know which addresses are taken, also one that two have', () => {
    const [first, second] = ['a', 'b'] as ContainerId[];
    const taken = new TakenAddresses();
    taken.set(first!, ['172.17.0.2', '172.18.0.2']);
    taken.set(second!, ['172.17.0.2']);
    taken.set(first!, ['172.18.0.3']);
    const known = ['172.17.0.2', '172.18.0.2', '172.18.0.3'];
    expect(known.filter((address) => taken.has(address))).to.deep.equal(['172.17.0.2', '172.18.0.3']);
    taken.delete(second!);
    taken.delete(second!);
    expect(known.filter((address) => taken.has(address))).to.deep.equal(['172.18.0.3']);
  });

  it('trouble the kernel only with what changes, and again after a failure', async () => {
    const applied: unknown[] = [];
    let fails = false;
    let listener: (event: RuntimeEvent) => void = () => undefined;
    const running: ContainerState[] = [];
    const containers = new ContainerNetworks({
      runtime: {
        list: () => running,
        get: (id) => running.find(({ config }) => config.id === id),
        watch: (added) => {
          listener = added;
          return () => undefined;
        },
        update: () => Promise.reject(new Error('not asked for')),
      },
      network: {
        applyLocal: (program) => {
          applied.push(program);
          return fails ? Promise.reject(new Error('no kernel')) : Promise.resolve();
        },
      } as ContainerNetworksOptions['network'],
      networks: new LocalNetworks(folder),
      log: () => undefined,
    });
    const start = (ports: object[]): void => {
      const id = String(running.length);
      const network = { interfaces: [{ address: `172.17.0.${running.length + 2}` }], ports };
      running.push({
        config: { id, name: `c${id}`, network },
        phase: 'running',
      } as unknown as ContainerState);
      listener({ type: 'start', id } as RuntimeEvent);
    };
    containers.start();
    expect(applied.length).to.equal(1);
    start([]);
    start([]);
    expect(applied.length).to.equal(1);
    start([{ protocol: 'tcp', containerPort: 80, hostPort: 8080 }]);
    expect(applied.length).to.equal(2);
    fails = true;
    start([{ protocol: 'tcp', containerPort: 80, hostPort: 8081 }]);
    await containers.apply().catch(() => undefined);
    expect(applied.length).to.equal(3);
    fails = false;
    await containers.apply();
    expect(applied.length).to.equal(4);
  });
});
