/** Counting in one set of voters, and nothing else. */
import type { MemberId } from '../types.js';

export function majorityOf(voters: number): number {
  return Math.floor(voters / 2) + 1;
}

/**
 * The highest index that a majority has acknowledged: the paper's N. Nobody in the set limits nothing, so that an
 * empty half of a joint quorum does not count.
 */
export function majorityIndex(voters: readonly MemberId[], ackOf: (voter: MemberId) => number): number {
  if (voters.length === 0) return Number.POSITIVE_INFINITY;
  const descending = voters.map(ackOf).sort((a, b) => b - a);
  return descending[majorityOf(voters.length) - 1] as number;
}

export type VoteResult = 'won' | 'lost' | 'pending';

/** An empty set is won: it has nobody who could object. */
export function majorityVote(voters: readonly MemberId[], votes: ReadonlyMap<MemberId, boolean>): VoteResult {
  if (voters.length === 0) return 'won';
  let granted = 0;
  let refused = 0;
  for (const voter of voters) {
    const vote = votes.get(voter);
    if (vote === true) granted++;
    if (vote === false) refused++;
  }
  const needed = majorityOf(voters.length);
  if (granted >= needed) return 'won';
  // A loss is certain once the refusals leave no majority.
  return refused > voters.length - needed ? 'lost' : 'pending';
}
