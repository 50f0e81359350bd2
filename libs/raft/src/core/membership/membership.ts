/** A membership as a value: who is in it, in which part. */
import type { MemberId, Membership } from '../types.js';

/** Of a member that nobody has told yet. It belongs to no group and does nothing of its own. */
export const emptyMembership: Membership = Object.freeze({
  voters: [],
  outgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
});

/** A membership of voters alone, as a group begins with. */
export function votersOnly(voters: readonly MemberId[]): Membership {
  return { ...emptyMembership, voters: voters.toSorted() };
}

export function isJoint(membership: Membership): boolean {
  return membership.outgoing.length > 0;
}

/** Does its acknowledgement count, in either half? */
export function isVoter(membership: Membership, member: MemberId): boolean {
  return membership.voters.includes(member) || membership.outgoing.includes(member);
}

/** Everybody who gets the log, sorted. */
export function membersOf({ voters, outgoing, learners }: Membership): MemberId[] {
  return [...new Set([...voters, ...outgoing, ...learners])].sort();
}
