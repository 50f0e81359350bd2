import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { Ledger } from '../driver/testing/ledger.js';
import { createRaftNode } from '../driver/raft-node.js';
import { systemClock } from '../driver/system-clock.js';
import { nodeDisk } from '../wal/node-disk.js';
import { inspectRaft, visitRaftEntries } from './inspect.js';

describe('raft: a data folder from outside', () => {
  const keys = [{ id: 'k1', key: Buffer.alloc(32, 1) }];
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'enxame-inspect-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it('shows while it is in use what it holds, entry by entry', async () => {
    const node = createRaftNode({
      id: 'm1',
      origin: { kind: 'bootstrap', members: ['m1'] },
      dir,
      stateMachine: new Ledger(),
      clock: systemClock,
      random: Math.random,
      keys,
      clusterId: 'blue',
      limits: { snapshotEntries: 8, keptEntries: 2 },
    });
    await node.start();
    try {
      for (let i = 1; i <= 12; i++) await node.propose(Buffer.from(`line ${i}`));
      const { lastIndex, term } = node.status();
      const raft = inspectRaft(nodeDisk, { dir, keys });
      expect(raft.hardState).to.include({ term, votedFor: 'm1' });
      expect(raft.last).to.equal(lastIndex);
      expect(raft.membership.voters).to.deep.equal(['m1']);
      expect(raft.segments[0]).to.include({ keyId: 'k1', clusterId: 'blue' });
      expect(raft.snapshots).to.have.length(1);
      expect(raft.snapshots[0]?.meta.membership.voters).to.deep.equal(['m1']);
      const lines: string[] = [];
      visitRaftEntries(nodeDisk, { dir, keys, from: lastIndex - 2, to: lastIndex }, (entry) => {
        expect(entry.session?.id).to.match(/^[0-9a-f]+$/);
        lines.push(Buffer.from(entry.data).toString());
      });
      expect(lines).to.deep.equal(['line 10', 'line 11', 'line 12']);
      expect(() => inspectRaft(nodeDisk, { dir, keys: [] })).to.throw('encrypted with key k1');
    } finally {
      await node.stop();
    }
  });
});
