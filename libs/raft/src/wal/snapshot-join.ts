/** Whether the log that was read goes on from the newest snapshot, and what to write when it does not. */
import type { SnapshotMeta } from '../core/types.js';
import type { WalBatch } from './records.js';
import type { WalContent } from './wal.js';

/**
 * A snapshot from the leader is durable before the log's note of it is. After a crash between the two, the log ends
 * before the snapshot, or goes on from another entry in its place: the note is to be written now, lest later entries
 * follow a gap, or old ones follow what they never followed.
 */
export function joinSnapshot(content: WalContent, meta: SnapshotMeta | undefined): WalBatch | undefined {
  if (meta === undefined || content.snapshot?.index === meta.index) return undefined;
  const { entries, hardState } = content;
  const first = entries[0]?.index ?? Number.POSITIVE_INFINITY;
  // Entries up to an own snapshot may be gone from the log, or still be there; the ones after it follow.
  if (first > meta.index && first !== Number.POSITIVE_INFINITY) return undefined;
  if (entries[meta.index - first]?.term === meta.term) return undefined;
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
