/** Counting, and nothing else. */
export function majorityOf(voters: number): number {
  return Math.floor(voters / 2) + 1;
}

/** The highest index that a majority has: the paper's N. `matched` holds one index per voter. */
export function majorityIndex(matched: readonly number[]): number {
  const descending = matched.toSorted((a, b) => b - a);
  return descending[majorityOf(matched.length) - 1] ?? 0;
}

export type VoteResult = 'won' | 'lost' | 'pending';

export function countVotes<Id>(voters: readonly Id[], votes: ReadonlyMap<Id, boolean>): VoteResult {
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
