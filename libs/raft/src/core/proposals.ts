/** What clients want in the log, and when a leader takes it. */
import { encodeMembershipEntry, type MembershipEntry } from './membership/codec.js';
import { nextMembership } from './membership/changer.js';
import { isJoint } from './membership/membership.js';
import { appendAsLeader } from './replication.js';
import type { CoreState, Leadership } from './state.js';
import type { Entry } from './types.js';

export function propose(state: CoreState, proposals: readonly { ref: number; data: Uint8Array }[]): void {
  const { leadership } = state;
  if (leadership === undefined || leadership.transfer !== undefined) {
    const reason = leadership === undefined ? 'not-leader' : 'transferring';
    for (const { ref } of proposals) state.refuse(ref, reason);
    return;
  }
  const entries: Entry[] = [];
  let bytes = leadership.uncommittedBytes;
  for (const { ref, data } of proposals) {
    // One alone always goes, or a large one never could.
    if (bytes > 0 && bytes + data.length > state.config.uncommittedBytesMax) {
      state.refuse(ref, 'uncommitted-full', `${bytes} bytes are not committed yet`);
      continue;
    }
    bytes += data.length;
    const index = state.log.lastIndex + 1 + entries.length;
    entries.push({ index, term: state.term, kind: 'data', data });
    state.emit({ kind: 'proposed', ref, index, term: state.term, afterPersist: 0 });
  }
  if (entries.length > 0) appendAsLeader(state, leadership, entries);
}

/** A change is checked against the membership it will meet: the present one, since no other is under way. */
export function proposeMembership(state: CoreState, ref: number, entry: MembershipEntry): void {
  const { leadership } = state;
  if (leadership === undefined) return state.refuse(ref, 'not-leader');
  if (leadership.transfer !== undefined) return state.refuse(ref, 'transferring');
  const isPending = state.log.nextMembershipAfter(state.applying) !== undefined;
  const { hasCommittedInTerm } = state;
  if (!state.rules.mayChangeMembership({ isPending, hasCommittedInTerm })) {
    const detail = isPending
      ? 'another change is not applied yet'
      : 'this leader has committed nothing of its term yet';
    return state.refuse(ref, 'membership-pending', detail);
  }
  const next = nextMembership(state.membership, entry);
  if (!next.ok) return state.refuse(ref, 'membership-invalid', next.reason);
  const index = state.log.lastIndex + 1;
  state.emit({ kind: 'proposed', ref, index, term: state.term, afterPersist: 0 });
  appendMembership(state, leadership, entry);
}

/** Ends a joint phase that ends by itself, on whichever member leads once the phase has begun. */
export function leaveJointWhenDue(state: CoreState): void {
  const { leadership, membership, log, applying } = state;
  if (leadership === undefined || leadership.transfer !== undefined) return;
  if (!isJoint(membership) || !membership.autoLeave) return;
  if (log.nextMembershipAfter(applying) !== undefined || !state.hasCommittedInTerm) return;
  appendMembership(state, leadership, { kind: 'leave-joint' });
}

function appendMembership(state: CoreState, leadership: Leadership, entry: MembershipEntry): void {
  const data = encodeMembershipEntry(entry);
  const index = state.log.lastIndex + 1;
  appendAsLeader(state, leadership, [{ index, term: state.term, kind: 'membership', data }]);
}
