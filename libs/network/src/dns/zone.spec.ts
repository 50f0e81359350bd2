import { expect } from 'chai';
import { Zone } from './zone.js';

describe("names of the node's own networks", () => {
  const zone = new Zone(undefined, {
    networks: [
      { id: 'front', subnet: '172.18.0.0/16', gateway: '172.18.0.1', internal: false },
      { id: 'back', subnet: '172.19.0.0/16', gateway: '172.19.0.1', internal: true },
    ],
    endpoints: [
      {
        addresses: [
          { networkId: 'front', address: '172.18.0.5', names: ['Web', 'www'] },
          { networkId: 'back', address: '172.19.0.5', names: ['Web'] },
        ],
        asksFrom: ['172.18.0.5', '172.19.0.5', '172.17.0.5'],
        ports: [],
      },
      {
        addresses: [{ networkId: 'front', address: '172.18.0.6', names: ['web2', 'www'] }],
        asksFrom: ['172.18.0.6'],
        ports: [],
      },
    ],
  });

  it('are those of the networks of the container that asks', () => {
    expect(zone.networksOf('172.18.0.5')).to.deep.equal(['front', 'back']);
    expect(zone.networksOf('172.17.0.5'), 'on the bridge as well').to.deep.equal(['front', 'back']);
    expect(zone.networksOf('172.18.0.77'), 'one that is just starting').to.deep.equal(['front']);
    expect(zone.networksOf('172.17.0.2'), 'on the bridge').to.deep.equal([]);
    expect(zone.lookup('www', ['front'])).to.deep.equal(['172.18.0.5', '172.18.0.6']);
    expect(zone.lookup('WEB', ['front', 'back'])).to.deep.equal(['172.18.0.5', '172.19.0.5']);
    expect(zone.lookup('www', ['back'])).to.equal(undefined);
    expect(zone.lookup('web', [])).to.equal(undefined);
  });

  it('lead back from addresses', () => {
    expect(zone.reverse('172.18.0.6', ['front'])).to.deep.equal(['web2']);
    expect(zone.reverse('172.18.0.6', ['back'])).to.deep.equal([]);
    expect(zone.reverse('172.17.0.2', ['front'])).to.equal('foreign');
  });
});
