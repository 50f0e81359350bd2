import { expect } from 'chai';
import type { NetworkInterfaceInfo } from 'node:os';
import { parseRemoteAddress, resolveClusterAddress, resolveDataPathAddress } from './addresses.js';

const info = (address: string, family: 'IPv4' | 'IPv6' = 'IPv4'): NetworkInterfaceInfo =>
  ({ address, family }) as NetworkInterfaceInfo;
const node = {
  address: '10.0.0.1',
  interfaces: {
    lo: [info('127.0.0.1')],
    eth0: [info('10.0.0.1'), info('fe80::1', 'IPv6')],
    eth1: [info('10.1.0.1'), info('10.2.0.1')],
    eth2: [info('fe80::2', 'IPv6')],
  },
};

describe('addresses of a cluster', () => {
  const good: [listen: string, advertise: string, address: string, port: number][] = [
    ['', '', '10.0.0.1', 2377],
    ['0.0.0.0:2377', '', '10.0.0.1', 2377],
    ['0.0.0.0:4000', '', '10.0.0.1', 4000],
    ['0.0.0.0:2377', '10.2.0.1', '10.2.0.1', 2377],
    ['', '10.2.0.1:4000', '10.2.0.1', 4000],
    ['0.0.0.0:2377', 'eth0', '10.0.0.1', 2377],
    ['eth0:2377', '', '10.0.0.1', 2377],
    ['0.0.0.0:2377', '127.0.0.1', '127.0.0.1', 2377],
  ];
  for (const [listen, advertise, address, port] of good) {
    it(`listen "${listen}", advertise "${advertise}": ${address}:${port}`, () => {
      expect(resolveClusterAddress({ listen, advertise }, node)).to.deep.equal({ address, port });
    });
  }

  const bad: [listen: string, advertise: string, words: string][] = [
    ['', '10.9.9.9', 'advertise address 10.9.9.9 is not an address of this node (it has 127.0.0.1, 10.0.0.1'],
    ['', '0.0.0.0', 'advertise address must be a non-zero IP address'],
    ['', 'eth7', 'advertise address must be a non-zero IP address'],
    ['', 'eth1', 'interface eth1 has more than one IPv4 address (10.1.0.1 and 10.2.0.1)'],
    ['', 'eth2', 'interface eth2 has no usable IPv4 address'],
    ['nowhere', '', 'listen address must be an IP address'],
    ['0.0.0.0:99999', '', 'the port must be a number from 1 to 65535'],
    ['0.0.0.0:4000', '10.0.0.1:2377', 'advertise port 2377 must be the listen port 4000'],
    ['10.1.0.1', '10.0.0.1', 'listen address 10.1.0.1 must be the advertise address 10.0.0.1, or 0.0.0.0'],
  ];
  for (const [listen, advertise, words] of bad) {
    it(`refuses listen "${listen}", advertise "${advertise}"`, () => {
      expect(() => resolveClusterAddress({ listen, advertise }, node)).to.throw(words);
    });
  }

  it('takes a manager to join with and without a port', () => {
    expect(parseRemoteAddress('10.0.0.2')).to.equal('10.0.0.2:2377');
    expect(parseRemoteAddress('manager-1.example:4000')).to.equal('manager-1.example:4000');
    for (const text of ['', 'a b', '10.0.0.2:x', ':2377'])
      expect(() => parseRemoteAddress(text), text).to.throw(/invalid remoteAddr/);
  });

  it('lets overlay traffic go to another address of the node, or to the advertised one', () => {
    const found = ['', '10.0.0.1', 'eth0', '10.2.0.1'].map((request) =>
      resolveDataPathAddress(request, node),
    );
    expect(found).to.deep.equal([undefined, undefined, undefined, '10.2.0.1']);
    for (const [request, words] of [
      ['10.9.0.1', 'data path address 10.9.0.1 is not an address of this node'],
      ['eth1', 'interface eth1 has more than one IPv4 address'],
      [
        '10.2.0.1:4789',
        'data path address must be a non-zero IP address or network interface (without a port',
      ],
      ['0.0.0.0', 'data path address must be a non-zero IP address'],
    ] as const) {
      expect(() => resolveDataPathAddress(request, node), request).to.throw(words);
    }
  });
});
