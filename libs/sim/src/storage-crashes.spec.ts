/** The real storage on the disk that forgets: what a power cut may leave of it, at whichever operation it comes. */
import { expect } from 'chai';
import { type Entry, localStorage, type RaftStorage, type SnapshotMeta, votersOnly } from '#libs/raft';
import { recover } from '#libs/raft/testing';
import { SimDisk } from './disk.js';
import { SeededRandom } from './random.js';

const dir = '/raft';
const hardState = { term: 4, votedFor: 'm2', commit: 2 };
const log = [1, 1, 2, 2].map(
  (term, at): Entry => ({ index: at + 1, term, kind: 'noop', data: new Uint8Array(0) }),
);
/** Of the leader of term 3, which had another entry at 3. */
const snapshot: SnapshotMeta = { index: 3, term: 3, membership: votersOnly(['m1', 'm2', 'm3']) };
const chunk = Buffer.from('state');

const wholeLog = 'term 4 for m2, log 1/1 2/1 3/2 4/2';
const snapshotAlone = 'term 4 for m2, snapshot 3/3, log ';

interface Opened {
  storage: RaftStorage;
  /** What the core would begin with. */
  found: string;
}

async function open(disk: SimDisk, persisted: () => void = () => undefined): Promise<Opened> {
  const openStorage = localStorage(disk, (work) => setImmediate(work));
  const failed = (): void => undefined;
  const options = { dir, segmentBytesMax: 4096, keptSnapshots: 0 };
  const { storage, content } = await openStorage(options, { persisted, failed });
  const recovered = recover(dir, storage.newestSnapshot()?.meta, content);
  const meta = recovered.snapshot;
  const entries = recovered.entries.map(({ index, term }) => `${index}/${term}`).join(' ');
  const found =
    `term ${recovered.hardState.term} for ${recovered.hardState.votedFor}, ` +
    `${meta === undefined ? '' : `snapshot ${meta.index}/${meta.term}, `}log ${entries}`;
  return { storage, found };
}

async function diskWithLog(seed: number): Promise<{ disk: SimDisk; storage: RaftStorage }> {
  const disk = new SimDisk(new SeededRandom(seed));
  let durable = (): void => undefined;
  const isDurable = new Promise<void>((resolve) => {
    durable = resolve;
  });
  const { storage } = await open(disk, () => durable());
  storage.append({ hardState, entries: log }, 1);
  await isDurable;
  return { disk, storage };
}

/** The id that names the content, as its sender tells it. */
async function idOfSnapshot(): Promise<string> {
  const { storage } = await diskWithLog(1);
  await storage.writeSnapshot(snapshot, [chunk]);
  return (await storage.openSnapshot())?.id ?? '';
}

describe('sim: raft storage on a disk that forgets', () => {
  it('has after a power cut the log, or the snapshot in its place: nothing of both, nothing between', async () => {
    const id = await idOfSnapshot();
    const seen = new Set<string>();
    for (let operation = 0; operation < 25; operation++) {
      for (let seed = 1; seed <= 8; seed++) {
        const { disk, storage } = await diskWithLog(seed);
        disk.crashAfterOperations = operation;
        // The core never hears of the snapshot: no note of it comes to the log.
        await storage
          .receiveSnapshot(snapshot, id)
          .then(async (writer) => {
            await writer.write(0, chunk);
            await writer.finish();
          })
          .catch(() => undefined);
        disk.crash();
        const { found } = await open(disk);
        seen.add(found);
        // What was read once counts: another power cut takes nothing of it back.
        disk.crash();
        expect((await open(disk)).found, `operation ${operation}, seed ${seed}`).to.equal(found);
      }
    }
    expect([...seen].sort()).to.deep.equal([wholeLog, snapshotAlone].sort());
  });

  it('keeps after a power cut what it found when its process had been killed', async () => {
    const seen = new Set<string>();
    for (let operation = 0; operation < 6; operation++) {
      for (let seed = 1; seed <= 8; seed++) {
        const { disk, storage } = await diskWithLog(seed);
        disk.crashAfterOperations = operation;
        storage.append({ hardState: { term: 5, votedFor: 'm3', commit: 2 }, entries: [] }, 2);
        await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
        disk.revive();
        const { found } = await open(disk);
        seen.add(found);
        disk.crash();
        expect((await open(disk)).found, `operation ${operation}, seed ${seed}`).to.equal(found);
      }
    }
    expect([...seen].sort()).to.deep.equal([wholeLog, wholeLog.replace('4 for m2', '5 for m3')]);
  });
});
