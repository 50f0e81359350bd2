/** Whether the log that was read goes on from the newest snapshot, and what to write when it does not. */
import type { HardState, SnapshotMeta } from '../core/types.js';
import type { WalBatch } from './records.js';
import type { LogShape } from './wal-content.js';

/**
 * A snapshot from the leader is durable before the log's note of it is. After a crash between the two, the log ends
 * before the snapshot, or goes on from another entry in its place: the note is to be written now, lest later entries
 * follow a gap, or old ones follow what they never followed.
 */
export function joinSnapshot(
  log: Pick<LogShape, 'first' | 'termAtSnapshot' | 'snapshot'>,
  hardState: HardState,
  meta: SnapshotMeta | undefined,
): WalBatch | undefined {
  if (meta === undefined || log.snapshot?.index === meta.index) return undefined;
  // Entries up to an own snapshot may be gone from the log, or still be there; the ones after it follow.
  if (log.first !== undefined && log.first > meta.index) return undefined;
  if (log.termAtSnapshot === meta.term) return undefined;
  return {
    snapshot: meta,
    entries: [],
    // What the leader of a term has told makes that term known here; no vote was given in it.
    hardState:
      meta.term > hardState.term
        ? { term: meta.term, commit: meta.index }
        : { ...hardState, commit: meta.index },
  };
}
