import { expect } from 'chai';
import { formatPrefix, parsePrefix } from '../ipv4.js';
import type { Prefix } from '../ipv4.js';
import { chooseLocalSubnet, localAddress, localSubnets } from './local-network.js';

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
