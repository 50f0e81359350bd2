import { expect } from 'chai';
import { describeError } from '#libs/model';
import { formatPrefix, parsePrefix } from '../ipv4.js';
import type { Prefix } from '../ipv4.js';
import { chooseAddress, chooseLocalSubnet, localAddress, localSubnets } from './local-network.js';

function prefixes(...texts: string[]): Prefix[] {
  return texts.map((text) => parsePrefix(text)!);
}

describe('subnet of the own network of a node', () => {
  const all = [...localSubnets()].map(formatPrefix);
  const cases: [what: string, remembered: string | undefined, taken: string[], chosen: string | undefined][] =
    [
      ['the first one', undefined, [], '172.17.0.0/16'],
      ['not what Docker has', undefined, ['172.17.0.0/16'], '172.18.0.0/16'],
      ['not what holds a single route of another', undefined, ['172.17.3.4/32'], '172.18.0.0/16'],
      ['not inside a larger network', undefined, ['172.16.0.0/12'], '192.168.0.0/20'],
      ['the one it had', '172.20.0.0/16', [], '172.20.0.0/16'],
      ['another when the one it had is taken', '172.20.0.0/16', ['172.20.8.0/24'], '172.17.0.0/16'],
      ['none when all are taken', undefined, all, undefined],
    ];
  for (const [what, remembered, taken, chosen] of cases) {
    it(`is ${what}`, () => {
      const result = chooseLocalSubnet(remembered === undefined ? undefined : parsePrefix(remembered), [
        ...prefixes(...taken),
      ]);
      expect(result && formatPrefix(result)).to.equal(chosen);
    });
  }
});

describe('address in the own network of a node', () => {
  it('is the same for one container, and nobody else’s', () => {
    const first = localAddress('172.17.0.0/16', 'c1', new Set());
    expect(localAddress('172.17.0.0/16', 'c1', new Set())).to.equal(first);
    expect(localAddress('172.17.0.0/16', 'c1', new Set([first!]))).to.not.equal(first);
  });

  it('is never the network, gateway or broadcast address, and ends when all are taken', () => {
    const taken = new Set<string>();
    for (
      let address;
      (address = localAddress('192.168.0.0/29', 'c', taken)) !== undefined;
      taken.add(address)
    );
    expect([...taken].sort()).to.deep.equal([2, 3, 4, 5, 6].map((last) => `192.168.0.${last}`));
  });
});

describe('address of a container in a network its user made', () => {
  const network = { id: 'n', subnet: '10.7.0.0/29', gateway: '10.7.0.3', internal: false };
  const choose = (wanted?: string, taken: string[] = []): string => {
    try {
      const request = { containerId: 'c', network, taken: new Set(taken) };
      return chooseAddress(network.subnet, wanted === undefined ? request : { ...request, wanted });
    } catch (error) {
      return describeError(error);
    }
  };
  const table: [what: string, wanted: string, taken: string[], answer: string][] = [
    ['the wanted one', '10.7.0.5', [], '10.7.0.5'],
    ['of another container', '10.7.0.5', ['10.7.0.5'], 'Address already in use'],
    ['of the node', '10.7.0.3', [], 'Address already in use'],
    ['of another subnet', '10.8.0.5', [], 'no configured subnet contains IP address 10.8.0.5'],
    ['no address', 'five', [], 'invalid IPv4 address: five'],
  ];
  for (const [what, wanted, taken, answer] of table) {
    it(what, () => expect(choose(wanted, taken)).to.equal(answer));
  }

  it('is never the node’s, and ends when all are taken', () => {
    const taken: string[] = [];
    for (let address = choose(); !address.startsWith('no available'); address = choose(undefined, taken)) {
      expect(taken.length, address).to.be.lessThan(6);
      taken.push(address);
    }
    // Six usable ones, without the node's and the one that is the node's unless said otherwise.
    expect(taken).to.have.length(4);
    expect(taken).to.not.include(network.gateway);
  });
});
