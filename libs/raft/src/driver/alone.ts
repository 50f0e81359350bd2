/**
 * A log that was written in a group is made that of one member alone, after a majority is lost for good, or when a
 * cluster begins anew from a backup. All that the log holds stands, committed or not: nobody is left who could know
 * better.
 */
import { encodeMembershipEntry } from '../core/membership/codec.js';
import { votersOnly } from '../core/membership/membership.js';
import type { Entry, MemberId, Recovered } from '../core/types.js';
import type { WalBatch } from '../wal/records.js';

/** What to start with, and what to write before anything is done with it. */
export function goOnAlone(recovered: Recovered, id: MemberId): { recovered: Recovered; batch: WalBatch } {
  const { snapshot, entries } = recovered;
  const last = entries.at(-1)?.index ?? snapshot?.index ?? 0;
  // A vote given in this term is of no more use; the term itself must not come again.
  const term = recovered.hardState.term + 1;
  const entry: Entry = {
    index: last + 1,
    term,
    kind: 'membership',
    data: encodeMembershipEntry({ kind: 'establish', membership: votersOnly([id]) }),
  };
  const hardState = { term, commit: entry.index };
  return {
    recovered: { ...recovered, hardState, entries: [...entries, entry] },
    batch: { hardState, entries: [entry] },
  };
}
