import { expect } from 'chai';
import { parseConstraint, satisfiesConstraints } from './constraint.js';
import type { NodeId } from './ids.js';
import type { Node } from './objects.js';

const node: Node = {
  id: 'ABC' as NodeId,
  version: 1,
  createdAtMs: 0,
  updatedAtMs: 0,
  index: 1,
  spec: { Role: 'manager', Availability: 'active', Labels: { zone: 'East' } },
  description: {
    hostname: 'node-1',
    platform: { os: 'linux', architecture: 'x86_64' },
    resources: { nanoCpus: 0, memoryBytes: 0 },
    engine: { version: '', labels: { disk: 'ssd' } },
  },
  status: { state: 'ready', message: '', address: '10.1.2.3' },
};

describe('placement constraints', () => {
  const held: Record<string, boolean> = {
    'node.id==abc': true,
    'node.id != abc': false,
    'node.hostname==node-1': true,
    'node.role == Manager': true,
    'node.role==worker': false,
    'node.platform.os==linux': true,
    'node.platform.arch==amd64': true,
    'node.platform.arch!=x86_64': false,
    'node.labels.zone==east': true,
    'node.labels.zone!=east': false,
    'node.labels.Zone==east': false,
    'node.labels.other!=x': true,
    'engine.labels.disk==ssd': true,
    'node.ip==10.1.2.3': true,
    'node.ip==10.1.0.0/16': true,
    'node.ip!=10.2.0.0/16': true,
    'node.ip==10.1.0.0/99': false,
    'node.colour==red': false,
  };
  for (const [text, expected] of Object.entries(held)) {
    it(`${text} is ${expected}`, () => {
      expect(satisfiesConstraints(node, [text])).to.equal(expected);
    });
  }

  it('holds only when every one holds', () => {
    expect(satisfiesConstraints(node, [])).to.equal(true);
    expect(satisfiesConstraints(node, ['node.role==manager', 'node.id==other'])).to.equal(false);
  });

  it('says what is wrong', () => {
    expect(parseConstraint('node.role=manager')).to.deep.equal({
      error: 'constraint expected one operator from ==, !=',
    });
    expect(parseConstraint('1node==a')).to.deep.equal({ error: "key '1node' is invalid" });
    expect(parseConstraint('node.role==')).to.deep.equal({ error: "value '' is invalid" });
    expect(parseConstraint('node.rolle==manager')).to.deep.equal({
      error:
        "key 'node.rolle' is invalid: expected node.id, node.hostname, node.ip, node.role, node.platform.os, " +
        'node.platform.arch, node.labels.* or engine.labels.*',
    });
    expect(parseConstraint(' node.labels.a-b == c d ')).to.deep.equal({
      key: 'node.labels.a-b',
      operator: '==',
      value: 'c d',
    });
  });
});
