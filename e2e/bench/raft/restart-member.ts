/** A sole member for the restart bench. Arguments: idle, fill or restart; the folder; how many entries, of how many bytes. */
import { createRaftNode, type StateMachine, systemClock } from '#libs/raft';

const [task, dir, entriesText, bytesText] = process.argv.slice(2);
if (dir === undefined) throw new Error('usage: restart-member TASK FOLDER ENTRIES BYTES');
const entries = Number(entriesText);
const atOnce = 4000;

let applied = 0;
const machine: StateMachine = {
  apply: () => ++applied,
  advance: () => undefined,
  snapshot: () => [],
  restore: () => undefined,
};
const node = createRaftNode({
  id: 'm1',
  origin: { kind: 'bootstrap', members: ['m1'] },
  dir,
  stateMachine: machine,
  clock: systemClock,
  random: Math.random,
  keys: [{ id: 'bench', key: Buffer.alloc(32, 'bench') }],
  limits: { snapshotEntries: Number.MAX_SAFE_INTEGER, snapshotBytes: Number.MAX_SAFE_INTEGER },
});

const begin = performance.now();
await node.start();
if (task === 'fill') {
  const data = Buffer.alloc(Number(bytesText), 'x');
  for (let left = entries; left > 0; left -= atOnce) {
    await Promise.all(Array.from({ length: Math.min(atOnce, left) }, () => node.propose(data)));
  }
}
const seconds = (performance.now() - begin) / 1000;
await node.stop();
const peakMegabytes = process.resourceUsage().maxRSS / 1024;
process.stdout.write(`${JSON.stringify({ seconds, peakMegabytes, applied })}\n`);
