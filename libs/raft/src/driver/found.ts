/** A new group of one member that begins with a state from elsewhere: a backup. */
import { dirname, join } from 'node:path';
import { votersOnly } from '../core/membership/membership.js';
import type { MemberId } from '../core/types.js';
import type { Disk } from '../wal/disk.js';
import type { FileOwner } from '../wal/file-header.js';
import { SnapshotFileWriter } from '../wal/snapshot-file.js';
import { encodeHead } from './replica.js';
import { SessionTable } from './sessions/session-table.js';

export interface FoundingState extends FileOwner {
  /** Must not hold a log. */
  dir: string;
  id: MemberId;
  /** Of the last entry the state stands for; whoever knew the state of before must not know a later term. */
  index: number;
  term: number;
  /** Of the state machine. */
  chunks: Iterable<Uint8Array>;
}

/** Durable when it returns; a node that starts on the folder then leads with that state. */
export function foundGroup(disk: Disk, { dir, id, index, term, chunks, ...owner }: FoundingState): void {
  if (disk.list(join(dir, 'wal')).length > 0) throw new Error(`${dir} holds a log already`);
  const snapshots = join(dir, 'snapshots');
  disk.makeDirectory(snapshots);
  const meta = { index, term, membership: votersOnly([id]) };
  const writer = new SnapshotFileWriter(disk, snapshots, meta, owner, 0);
  try {
    writer.add(encodeHead({ sessions: new SessionTable(), removed: [] }));
    for (const chunk of chunks) writer.add(chunk);
    writer.finish(undefined);
  } catch (error) {
    writer.abort();
    throw error;
  }
  disk.syncDirectory(dir);
  disk.syncDirectory(dirname(dir));
}
