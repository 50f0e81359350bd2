/** How a group begins. */
import { encodeMembershipEntry } from './membership/codec.js';
import type { CoreState } from './state.js';

/**
 * A founder with an empty disk begins as if every founder had committed entry 1 in term 1. A member that joins later
 * gets the same entry from the leader, so the log alone tells who takes part.
 */
export function bootstrapWhenEmpty(state: CoreState): void {
  const { bootstrap } = state.config;
  if (bootstrap === undefined || state.term > 0 || state.log.lastIndex > 0) return;
  state.term = 1;
  state.commit = 1;
  const data = encodeMembershipEntry({ kind: 'establish', membership: bootstrap });
  state.persist([{ index: 1, term: 1, kind: 'membership', data }]);
}
