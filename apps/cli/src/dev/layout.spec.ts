import { expect } from 'chai';
import { clusterNamePattern, devClusterIndexMax, layOutDevCluster } from './layout.js';

const options = { name: 'dev', managers: 1, workers: 2, heartbeatPeriodMs: 1000 };

describe('layout of a local cluster', () => {
  it('puts node 1 into the machine and the others into namespaces', () => {
    const layout = layOutDevCluster(options, 0);
    expect(
      layout.nodes.map(({ name, address, namespace, hostLink }) => ({ name, address, namespace, hostLink })),
    ).to.deep.equal([
      { name: 'node-1', address: '10.98.0.1', namespace: undefined, hostLink: undefined },
      { name: 'node-2', address: '10.98.0.2', namespace: 'enxame-dev-node-2', hostLink: 'enx0n2' },
      { name: 'node-3', address: '10.98.0.3', namespace: 'enxame-dev-node-3', hostLink: 'enx0n3' },
    ]);
    expect(layout.nodes[0]?.config.apiSocket).to.equal('/run/enxame/dev/node-1.sock');
    expect(layout.nodes[0]?.config.stateDir).to.equal('/var/lib/enxame/dev/node-1');
  });

  it('gives clusters side by side nothing in common', () => {
    const seen = new Set<string>();
    for (let index = 0; index <= devClusterIndexMax; index++) {
      const { bridge, underlaySubnet, nftTable, addressPool, dataPathPort, nodes } = layOutDevCluster(
        { ...options, name: `c${index}` },
        index,
      );
      const { tag, linkLocalGateway, markBase } = nodes[0]!.config.network;
      for (const value of [
        bridge,
        underlaySubnet,
        nftTable,
        addressPool,
        `port ${dataPathPort}`,
        tag,
        linkLocalGateway,
        `mark ${markBase}`,
      ]) {
        expect(seen.has(value), value).to.equal(false);
        seen.add(value);
      }
    }
  });

  it('keeps kernel names and socket paths within their limits', () => {
    const layout = layOutDevCluster({ ...options, name: 'a'.repeat(20), workers: 49 }, devClusterIndexMax);
    for (const node of layout.nodes) {
      expect(node.config.managerSocket.length).to.be.below(80);
      expect(node.hostLink?.length ?? 0).to.be.at.most(15);
      expect(node.config.network.tag).to.match(/^[a-z0-9]{1,8}$/);
    }
  });

  it('takes names that are safe in paths and kernel names', () => {
    for (const good of ['dev', 'a', 'e2e-1']) expect(good).to.match(clusterNamePattern);
    for (const bad of ['', 'Dev', '1a', 'a/b', '..', 'a'.repeat(21), 'a b'])
      expect(bad).not.to.match(clusterNamePattern);
  });
});
