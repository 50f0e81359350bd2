import { expect } from 'chai';
import { KnownManagers } from './known-managers.js';

const peer = (name: string) => ({ nodeId: name, address: `${name}:2377` });

describe('known managers', () => {
  it('gives one after the other, and first where it was sent to', () => {
    const managers = new KnownManagers([peer('a'), peer('b'), peer('c')], 0.5);
    expect([1, 2, 3, 4].map(() => managers.next())).to.deep.equal(['b:2377', 'c:2377', 'a:2377', 'b:2377']);
    managers.sendTo('d:2377');
    expect([managers.next(), managers.next()]).to.deep.equal(['d:2377', 'c:2377']);
  });

  it('takes the cluster`s list, and tells whether it is news', () => {
    const managers = new KnownManagers([peer('a')], 0);
    expect(managers.replace([peer('b'), peer('a')])).to.equal(true);
    expect(managers.replace([peer('a'), peer('b')])).to.equal(false);
    expect(managers.replace([])).to.equal(false);
    expect(managers.addresses()).to.deep.equal(['a:2377', 'b:2377']);
  });

  it('has nobody to give when it knows nobody', () => {
    expect(new KnownManagers([], 0).next()).to.equal(undefined);
  });
});
