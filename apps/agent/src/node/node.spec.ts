import { EnxameError, type NodeConfig } from '#libs/model';
import { expect } from 'chai';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Backoff } from '../session/backoff.js';
import { readNodeConfig } from './config-file.js';
import { dnsUpstreams } from './description.js';

const good: NodeConfig = {
  clusterName: 'dev',
  nodeName: 'node-1',
  stateDir: '/var/lib/enxame/dev/node-1',
  runDir: '/run/enxame/dev/node-1',
  apiSocket: '/run/enxame/dev/node-1.sock',
  managerSocket: '/run/enxame/dev/node-1/manager.sock',
  address: '10.98.0.1',
  clusterPort: 2377,
  enginePort: 2378,
  membership: { kind: 'init', addressPools: ['10.0.0.0/8'], subnetSize: 16, dataPathPort: 4789 },
  cgroupParent: '/enxame/dev/node-1',
  network: { tag: 'd0n1', linkLocalGateway: '169.254.1.1', markBase: 0x0e000000 },
  insecureRegistries: [],
  logLevel: 'info',
};

describe('node', () => {
  let folder: string;
  let file: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'enxame-node-'));
    file = join(folder, 'config.json');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('reads a good configuration as it is', () => {
    writeFileSync(file, JSON.stringify(good));
    expect(readNodeConfig(file)).to.deep.equal(good);
  });

  const bad: [Partial<NodeConfig> | string, string][] = [
    ['{', 'cannot be read as JSON'],
    ['null', 'must hold an object'],
    [{ address: 'nowhere' }, 'address must be an IPv4 address'],
    [{ apiSocket: `/${'x'.repeat(107)}` }, 'apiSocket must be an absolute path of at most 107 bytes'],
    [{ enginePort: 2377 }, 'enginePort must be a port number of its own'],
    [{ network: { ...good.network, tag: 'much too long' } }, 'network.tag must be 1 to 8 of a-z and 0-9'],
    [
      { membership: { kind: 'join', token: 'x', remoteAddresses: [] } },
      'membership.remoteAddresses must name',
    ],
  ];
  for (const [change, words] of bad) {
    it(`refuses a configuration: ${words}`, () => {
      writeFileSync(file, typeof change === 'string' ? change : JSON.stringify({ ...good, ...change }));
      expect(() => readNodeConfig(file)).to.throw(EnxameError, words);
    });
  }

  it('names every broken field at once', () => {
    writeFileSync(file, JSON.stringify({ ...good, address: 'x', clusterPort: 0 }));
    expect(() => readNodeConfig(file)).to.throw(/address must.*; clusterPort must/);
  });

  it('asks the resolvers of the machine, but none on its loopback', () => {
    writeFileSync(
      file,
      'search x\nnameserver 127.0.0.53\nnameserver 10.0.0.2\n nameserver 10.0.0.3\nnameserver ::1\n',
    );
    expect(dnsUpstreams([join(folder, 'absent'), file])).to.deep.equal(['10.0.0.2', '10.0.0.3']);
    expect(dnsUpstreams([join(folder, 'absent')])).to.deep.equal([]);
  });

  it('waits longer each time up to a limit, and anew after a success', () => {
    const backoff = new Backoff({ firstMs: 100, maxMs: 350, fraction: () => 1 });
    expect([1, 2, 3, 4].map(() => backoff.next())).to.deep.equal([100, 200, 350, 350]);
    backoff.reset();
    expect(backoff.next()).to.equal(100);
    expect(new Backoff({ firstMs: 100, maxMs: 350, fraction: () => 0 }).next()).to.equal(50);
  });
});
