import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { EnxameError } from '#libs/model';
import { votersOnly } from '../core/membership/membership.js';
import type { SnapshotMeta } from '../core/types.js';
import { localStorage } from './local-storage.js';
import { nodeDisk } from './node-disk.js';
import type { OpenStorage, RaftStorage, SnapshotReader } from './storage.js';
import { threadStorage } from './thread-storage.js';

const kinds: Record<string, OpenStorage> = {
  'in its thread': threadStorage,
  "in the caller's thread": localStorage(nodeDisk, (work) => setImmediate(work)),
};

const meta = (index: number): SnapshotMeta => ({ index, term: 3, membership: votersOnly(['m1']) });
const chunks = Array.from({ length: 40 }, (_, i) => Buffer.alloc(50_000 + i, `chunk ${i} `));

async function refusalOf(promise: Promise<unknown>): Promise<EnxameError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof EnxameError) return error;
    throw error;
  }
  throw new Error('was not refused');
}

for (const [name, openStorage] of Object.entries(kinds)) {
  describe(`raft: storage ${name}`, () => {
    let dir: string;
    let storage: RaftStorage;
    let persisted: number[];
    const opened: RaftStorage[] = [];

    async function open(folder = 'one', keptSnapshots = 0): Promise<RaftStorage> {
      const { storage: made } = await openStorage(
        { dir: join(dir, folder), segmentBytesMax: 100_000, keptSnapshots },
        {
          persisted: (sequence) => persisted.push(sequence),
          failed: (error) => {
            throw error;
          },
        },
      );
      opened.push(made);
      return made;
    }

    function files(folder = 'one'): string[] {
      return readdirSync(join(dir, folder, 'snapshots'));
    }

    beforeEach(async () => {
      dir = mkdtempSync(join(tmpdir(), 'enxame-storage-'));
      persisted = [];
      storage = await open();
    });
    afterEach(async () => {
      for (const each of opened.splice(0)) await each.close();
      rmSync(dir, { recursive: true });
    });

    it('tells of the last batch of each group, in order, and not before append has returned', async () => {
      for (let sequence = 1; sequence <= 20; sequence++) {
        const data = Buffer.from(`entry ${sequence}`);
        const entries = [{ index: sequence, term: 1, kind: 'data' as const, data }];
        storage.append({ hardState: { term: 1, commit: 0 }, entries }, sequence);
        expect(persisted).to.deep.equal([]);
      }
      await opened.pop()?.close();
      expect(persisted).to.deep.equal([1, 20]);
    });

    it('gives back the newest snapshot and keeps as many old ones as it should', async () => {
      expect(storage.newestSnapshot()).to.equal(undefined);
      await storage.writeSnapshot(meta(10), chunks);
      await storage.writeSnapshot(meta(20), chunks.slice(0, 3));
      const newest = storage.newestSnapshot();
      expect(newest?.meta).to.deep.equal(meta(20));
      expect([...(newest?.chunks ?? [])].map(String)).to.deep.equal(chunks.slice(0, 3).map(String));
      expect(files()).to.have.length(1);
      await opened.pop()?.close();
      const keeping = await open('one', 1);
      for (const index of [30, 40]) await keeping.writeSnapshot(meta(index), chunks.slice(0, 1));
      expect(files()).to.deep.equal(['0000000000000030-3.snapshot', '0000000000000040-3.snapshot']);
    });

    it('carries a snapshot to another member through a stream that breaks', async () => {
      await storage.writeSnapshot(meta(10), chunks);
      const reader = (await storage.openSnapshot()) as SnapshotReader;
      // A newer snapshot takes its place meanwhile.
      await storage.writeSnapshot(meta(11), []);
      const other = await open('two');
      const writer = await other.receiveSnapshot(reader.meta, reader.id);
      let wanted = 0;
      for (;;) {
        const chunk = await reader.read(wanted);
        if (chunk === undefined) break;
        expect(await writer.write(wanted, chunk)).to.equal(wanted + 1);
        wanted++;
        // What comes twice or too early is left, and the receiver says where it is.
        if (wanted === 5) expect(await writer.write(0, chunks[0] as Buffer)).to.equal(wanted);
        if (wanted === 6) expect(await writer.write(9, chunks[9] as Buffer)).to.equal(wanted);
        if (wanted === 7) await reader.read(0);
        expect(files('two').filter((file) => file.endsWith('.snapshot'))).to.deep.equal([]);
      }
      await writer.finish();
      expect([...(other.newestSnapshot()?.chunks ?? [])].map(String)).to.deep.equal(chunks.map(String));
      expect(other.newestSnapshot()?.meta).to.deep.equal(meta(10));
      await reader.close();
    });

    it('refuses a received snapshot that is not what was sent, and leaves nothing of it', async () => {
      await storage.writeSnapshot(meta(10), chunks);
      const writer = await storage.receiveSnapshot(meta(20), '20-3-1-9-abc');
      await writer.write(0, Buffer.from('something'));
      const error = await refusalOf(writer.finish());
      expect(error.code).to.equal('data-damaged');
      expect(error.message).to.match(/snapshot 20-3-1-9-abc was sent, 20-3-1-9-[0-9a-f]+ came/);
      expect(storage.newestSnapshot()?.meta).to.deep.equal(meta(10));
      expect(files()).to.deep.equal(['0000000000000010-3.snapshot']);
    });

    it('forgets half a snapshot when it is opened again', async () => {
      await storage.writeSnapshot(meta(10), chunks);
      const writer = await storage.receiveSnapshot(meta(20), 'never finished');
      for (let number = 0; number < 6; ) number = await writer.write(number, Buffer.alloc(500_000));
      const half = files().find((file) => file.endsWith('.tmp')) as string;
      const bytes = readFileSync(join(dir, 'one/snapshots', half));
      await opened.pop()?.close();
      writeFileSync(join(dir, 'one/snapshots', half), bytes);
      expect((await open()).newestSnapshot()?.meta).to.deep.equal(meta(10));
      expect(files()).to.deep.equal(['0000000000000010-3.snapshot']);
    });
  });
}
