import type { NodeId } from '#libs/model';
import { expect } from 'chai';
import { comparableReference, ImageLocations } from './image-locations.js';

const digest = `sha256:${'a'.repeat(64)}`;

describe('image locations', () => {
  const table: [string, string][] = [
    ['demo', 'demo:latest'],
    ['demo:1', 'demo:1'],
    ['docker.io/library/demo:1', 'demo:1'],
    ['library/demo', 'demo:latest'],
    ['docker.io/me/demo', 'me/demo:latest'],
    ['localhost:5000/demo', 'localhost:5000/demo:latest'],
    ['localhost:5000/demo:2', 'localhost:5000/demo:2'],
    [`demo:1@${digest}`, digest],
    [digest, digest],
  ];
  for (const [reference, comparable] of table) {
    it(`takes ${reference.slice(0, 30)} for ${comparable.slice(0, 30)}`, () => {
      expect(comparableReference(reference)).to.equal(comparable);
    });
  }

  it('knows the holders by tag, digest and id, and forgets a node', () => {
    const [a, b] = ['a' as NodeId, 'b' as NodeId];
    const locations = new ImageLocations();
    locations.set(b, [{ id: 'sha256:id1', references: ['demo:1', `demo@${digest}`] }]);
    locations.set(a, [{ id: 'sha256:id1', references: ['demo:1'] }]);
    expect(locations.holders('docker.io/library/demo:1')).to.deep.equal([a, b]);
    expect(locations.holders(`other@${digest}`)).to.deep.equal([b]);
    expect(locations.holders('demo:2')).to.deep.equal([]);
    locations.delete(b);
    expect(locations.holders('demo:1')).to.deep.equal([a]);
  });
});
