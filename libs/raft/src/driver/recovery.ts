/** From a folder to what the core starts with. */
import { EnxameError } from '#libs/model';
import type { Entry, Recovered, SnapshotMeta } from '../core/types.js';
import type { WalContent } from '../wal/wal-content.js';

/** Puts snapshot and log together and refuses a pair with something missing between them. */
export function recover(dir: string, snapshot: SnapshotMeta | undefined, content: WalContent): Recovered {
  const base = snapshot?.index ?? 0;
  const { hardState } = content;
  if ((content.snapshot?.index ?? 0) > base) {
    throw new EnxameError(
      'data-damaged',
      `raft data folder ${dir}: the log follows a snapshot at ${content.snapshot?.index}, which is missing`,
    );
  }
  // A crash came between a leader's snapshot and the cut of a log that had gone another way.
  const goneAstray = content.entries.some((entry) => entry.index === base && entry.term !== snapshot?.term);
  const entries: Entry[] = goneAstray ? [] : content.entries.filter((entry) => entry.index > base);
  const first = entries[0];
  if (first !== undefined && first.index !== base + 1) {
    throw new EnxameError(
      'data-damaged',
      `raft data folder ${dir}: entries ${base + 1} to ${first.index - 1} are missing`,
    );
  }
  const last = entries.at(-1)?.index ?? base;
  if (hardState.commit > last) {
    throw new EnxameError(
      'data-damaged',
      `raft data folder ${dir}: entries through ${hardState.commit} were committed, the log ends at ${last}`,
    );
  }
  return {
    hardState: { ...hardState, commit: Math.max(hardState.commit, base) },
    ...(snapshot === undefined ? {} : { snapshot }),
    entries,
  };
}
