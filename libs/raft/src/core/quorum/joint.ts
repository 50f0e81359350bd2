/**
 * Counting in a membership. While it is joint, everything needs a majority of the new voters and a majority of the
 * old ones (Ongaro's thesis, 4.3): neither half can decide anything without the other.
 */
import type { MemberId, Membership } from '../types.js';
import { majorityIndex, majorityVote, type VoteResult } from './majority.js';

export type VoterSets = Pick<Membership, 'voters' | 'outgoing'>;

export function quorumIndex({ voters, outgoing }: VoterSets, ackOf: (voter: MemberId) => number): number {
  return Math.min(majorityIndex(voters, ackOf), majorityIndex(outgoing, ackOf));
}

export function quorumVote(
  { voters, outgoing }: VoterSets,
  votes: ReadonlyMap<MemberId, boolean>,
): VoteResult {
  const incoming = majorityVote(voters, votes);
  const leaving = majorityVote(outgoing, votes);
  if (incoming === leaving) return incoming;
  return incoming === 'lost' || leaving === 'lost' ? 'lost' : 'pending';
}
