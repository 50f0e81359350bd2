import { expect } from 'chai';
import { prunableBy, pruneClusterNetworks, type CallCluster } from './network-prune.js';

const nowMs = Date.parse('2026-01-01T12:00:00Z');

function shown(name: string, change: object = {}): object {
  return {
    Id: `id-${name}`,
    Name: name,
    Created: '2026-01-01T10:00:00.000000000Z',
    Ingress: false,
    Labels: {},
    ...change,
  };
}

describe('docker network prune', () => {
  it('means networks by age and labels', () => {
    const isPrunable = (filters: Record<string, string[]>): boolean =>
      prunableBy(
        new Map(Object.entries(filters)),
        nowMs,
      )({
        labels: { tier: 'front' },
        createdAtMs: nowMs - 7_200_000,
      });
    expect(isPrunable({})).to.equal(true);
    expect(isPrunable({ until: ['1h'] })).to.equal(true);
    expect(isPrunable({ until: ['3h'] })).to.equal(false);
    expect(isPrunable({ until: ['2026-01-01T11:00:00Z'] })).to.equal(true);
    expect(isPrunable({ label: ['tier=front'] })).to.equal(true);
    expect(isPrunable({ label: ['tier=back'] })).to.equal(false);
    expect(isPrunable({ 'label!': ['tier'] })).to.equal(false);
    expect(isPrunable({ 'label!': ['other'] })).to.equal(true);
    expect(() => isPrunable({ until: ['soon'] })).to.throw("invalid filter 'until=soon'");
  });

  it("takes the cluster's along, but for the ingress network and what is used after all", async () => {
    const asked: string[] = [];
    const call: CallCluster = (method, path) => {
      asked.push(`${method} ${path.split('?')[0]}`);
      const networks = [
        shown('ingress', { Ingress: true }),
        shown('unused'),
        shown('taken'),
        shown('young', { Created: '2026-01-01T11:59:00Z' }),
      ];
      if (method === 'GET') return Promise.resolve({ status: 200, body: networks });
      return Promise.resolve({ status: path.endsWith('taken') ? 400 : 204, body: undefined });
    };
    const prunable = prunableBy(new Map([['until', ['1h']]]), nowMs);
    expect(await pruneClusterNetworks(call, prunable)).to.deep.equal(['unused']);
    expect(asked).to.deep.equal(['GET /networks', 'DELETE /networks/id-unused', 'DELETE /networks/id-taken']);
  });
});
