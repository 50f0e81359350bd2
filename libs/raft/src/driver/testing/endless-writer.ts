/**
 * A program for tests that kill it: many writers at once, each line printed once it is acknowledged.
 * Arguments: the data folder, and a word that begins every line.
 */
import { createRaftNode } from '../raft-node.js';
import { systemClock } from '../system-clock.js';
import { Ledger } from './ledger.js';

const [folder, word] = process.argv.slice(2);
if (folder === undefined || word === undefined) throw new Error('usage: endless-writer FOLDER WORD');

const node = createRaftNode({
  id: 'm1',
  origin: { kind: 'bootstrap', members: ['m1'] },
  dir: folder,
  stateMachine: new Ledger(),
  clock: systemClock,
  random: Math.random,
  keys: [{ id: 'a', key: Buffer.alloc(32, 'key') }],
  limits: { snapshotEntries: 120, keptEntries: 10, segmentBytesMax: 8192 },
});
await node.start();
let next = 0;

async function writeForEver(): Promise<void> {
  for (;;) {
    const line = `${word}-${next++}`;
    await node.propose(Buffer.from(line));
    process.stdout.write(`${line}\n`);
  }
}

await Promise.all(Array.from({ length: 8 }, writeForEver));
