import { expect } from 'chai';
import { allCapabilities, capabilityMask, defaultCapabilities, resolveCapabilities } from './capabilities.js';

describe('capabilities', () => {
  it('are fourteen by default', () => {
    expect(defaultCapabilities).to.have.length(14);
    expect(capabilityMask(defaultCapabilities)).to.equal(0xa80425fbn);
  });

  const resolve = (add: string[], drop: string[]): string[] =>
    resolveCapabilities({ add, drop, privileged: false });

  it('are added and dropped by name, with or without the prefix', () => {
    expect(resolve(['NET_ADMIN'], ['CAP_KILL']))
      .to.include('CAP_NET_ADMIN')
      .and.not.include('CAP_KILL');
    expect(resolve(['ALL'], ['sys_admin'])).to.deep.equal(
      allCapabilities.filter((name) => name !== 'CAP_SYS_ADMIN'),
    );
    expect(resolve(['chown'], ['ALL'])).to.deep.equal(['CAP_CHOWN']);
    expect(resolve([], ['ALL'])).to.deep.equal([]);
    expect(resolveCapabilities({ add: [], drop: ['ALL'], privileged: true })).to.deep.equal(allCapabilities);
  });

  it('are refused when Linux has no such', () => {
    expect(() => resolve(['FLY'], [])).to.throw('invalid capability to add: "FLY"');
  });
});
