/** From committed to applied, and what a change of membership does at that moment. */
import { decodeMembershipEntry } from './membership/codec.js';
import { nextMembership } from './membership/changer.js';
import { onMembershipAsLeader } from './replication.js';
import type { CoreState } from './state.js';
import type { Entry, Membership } from './types.js';

/**
 * Hands committed entries to the state machine, once they are on this member's own disk, and no faster than it takes
 * them. A membership holds from the moment its entry is handed over.
 */
export function applyCommitted(state: CoreState): void {
  const { log, config } = state;
  for (;;) {
    const through = applicableThrough(state);
    if (through <= state.applying || state.applyingBytes >= config.applyingBytesMax) return;
    const from = state.applying + 1;
    const changeAt = log.nextMembershipAfter(state.applying) ?? through;
    const entries = log.slice(
      from,
      Math.min(through, changeAt),
      config.applyingBytesMax - state.applyingBytes,
    );
    const last = entries.at(-1) as Entry;
    const bytes = log.bytesOf(from, last.index);
    state.applying = last.index;
    state.applyingBytes += bytes;
    state.applyingBatches.push({ through: last.index, bytes });
    state.emit({ kind: 'apply', entries, afterPersist: 0 });
    if (last.kind === 'membership') applyMembership(state, last);
  }
}

/**
 * A change of membership is acted on only when this member's disk knows that it is committed. Else a crash could make
 * everybody forget it who knew, when those that it removed are gone and cannot give their votes any more.
 */
function applicableThrough(state: CoreState): number {
  const { disk } = state;
  const through = Math.min(state.commit, disk.index);
  const changeAt = state.log.nextMembershipAfter(state.applying) ?? Number.POSITIVE_INFINITY;
  if (changeAt > through || changeAt <= disk.commit) return through;
  if (disk.writtenCommit < changeAt) state.writeHardState();
  return changeAt - 1;
}

/** The state machine has taken every entry through `index`. */
export function onApplied(state: CoreState, index: number): void {
  state.applied = Math.max(state.applied, index);
  let done = 0;
  for (const { through, bytes } of state.applyingBatches) {
    if (through > index) break;
    state.applyingBytes -= bytes;
    done++;
  }
  state.applyingBatches.splice(0, done);
}

function applyMembership(state: CoreState, entry: Entry): void {
  const next = nextMembership(state.membership, decodeMembershipEntry(entry.data));
  // A leader proposes only what fits, and every member has the same membership here.
  if (!next.ok) throw new Error(`raft: the change of membership at ${entry.index} cannot be: ${next.reason}`);
  takeMembership(state, { index: entry.index, membership: next.membership, afterPersist: 0 });
  onMembershipAsLeader(state);
}

export function takeMembership(
  state: CoreState,
  change: { index: number; membership: Membership; afterPersist: number },
): void {
  state.membership = change.membership;
  state.emit({ kind: 'membership-changed', ...change });
}

/** Known to be committed, not acted on: the disk or the state machine is late. */
export function hasUnappliedMembership(state: CoreState): boolean {
  return (state.log.nextMembershipAfter(state.applying) ?? Number.POSITIVE_INFINITY) <= state.commit;
}
