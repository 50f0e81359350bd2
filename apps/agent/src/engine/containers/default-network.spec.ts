import type { ContainerId } from '#libs/model';
import type { ContainerState } from '#libs/runtime';
import { expect } from 'chai';
import { DefaultNetwork } from './default-network.js';

describe('addresses of containers outside services', () => {
  const taken: string[][] = [];
  let records: string[] = [];
  const network = new DefaultNetwork({
    runtime: {
      list: () =>
        records.map((address) => ({ config: { network: { interfaces: [{ address }] } } }) as ContainerState),
    },
    network: {
      localInterface: (wanted) => {
        taken.push([...wanted.taken].sort());
        return {
          name: 'eth0',
          hostName: 'e-1',
          address: `172.17.0.${wanted.taken.size + 2}`,
          gateway: '169.254.1.1',
          subnet: '172.17.0.0/16',
          defaultRoute: true,
          mtu: 1450,
        };
      },
      nameservers: () => ['169.254.1.1'],
    },
  });

  it('are taken from the choice on, by the record after that, and free when that is gone', () => {
    const [first, second] = ['a', 'b'] as ContainerId[];
    expect(network.attach(first!).interfaces[0]?.address).to.equal('172.17.0.2');
    network.attach(second!);
    records = ['172.17.0.2'];
    network.settled(first!);
    // The second container was never made.
    network.settled(second!);
    network.attach(second!);
    records = [];
    network.settled(second!);
    network.attach(first!);
    expect(taken).to.deep.equal([[], ['172.17.0.2'], ['172.17.0.2'], []]);
  });
});
