/**
 * Changes of membership (Ongaro's thesis, chapter 4), as values: the present membership and a change give the next
 * one, or the reason why not. A refusal must be the same on every member, so it depends on nothing else.
 */
import type { MemberId, Membership, MembershipChange } from '../types.js';
import type { MembershipEntry } from './codec.js';
import { emptyMembership, isJoint } from './membership.js';

export type ChangeResult = { ok: true; membership: Membership } | { ok: false; reason: string };

/** What an entry of the log makes of the membership. */
export function nextMembership(now: Membership, entry: MembershipEntry): ChangeResult {
  switch (entry.kind) {
    case 'establish':
      return checked(sortedMembership(entry.membership));
    case 'leave-joint':
      return leaveJoint(now);
    case 'change': {
      const { changes, transition } = entry;
      if (transition === 'auto' && votersMoved(now, changes) <= 1) return changeOneVoter(now, changes);
      return enterJoint(now, changes, transition !== 'joint-until-left');
    }
  }
}

/**
 * Without a joint phase: at most one voter may come or go, so that any majority of before and any of after share a
 * member (thesis, 4.1).
 */
export function changeOneVoter(now: Membership, changes: readonly MembershipChange[]): ChangeResult {
  if (isJoint(now)) return refused('the membership is joint already; leave that phase first');
  const draft = new Draft(now);
  for (const change of changes) draft.make(change);
  const membership = draft.membership(false);
  if (symmetricDifference(now.voters, membership.voters) > 1) {
    return refused('more than one voter changes without a joint phase');
  }
  return checked(membership);
}

/** The voters of before go on deciding beside the new ones. */
export function enterJoint(
  now: Membership,
  changes: readonly MembershipChange[],
  autoLeave: boolean,
): ChangeResult {
  if (isJoint(now)) return refused('the membership is joint already; leave that phase first');
  if (now.voters.length === 0) return refused('a membership without voters cannot become joint');
  const draft = new Draft(now, now.voters);
  for (const change of changes) draft.make(change);
  return checked(draft.membership(autoLeave));
}

/** The new voters alone decide. */
export function leaveJoint(now: Membership): ChangeResult {
  if (!isJoint(now)) return refused('the membership is not joint');
  return checked({
    voters: now.voters,
    outgoing: [],
    learners: [...now.learners, ...now.learnersNext].sort(),
    learnersNext: [],
    autoLeave: false,
  });
}

/** A membership under change. */
class Draft {
  private readonly voters: Set<MemberId>;
  private readonly learners: Set<MemberId>;
  private readonly learnersNext: Set<MemberId>;

  constructor(
    now: Membership,
    private readonly outgoing: readonly MemberId[] = [],
  ) {
    this.voters = new Set(now.voters);
    this.learners = new Set(now.learners);
    this.learnersNext = new Set(now.learnersNext);
  }

  make({ kind, id }: MembershipChange): void {
    this.voters.delete(id);
    this.learners.delete(id);
    this.learnersNext.delete(id);
    if (kind === 'add-voter') this.voters.add(id);
    // Who still votes in the old half cannot be a learner yet: its acknowledgements count there.
    if (kind === 'add-learner') (this.outgoing.includes(id) ? this.learnersNext : this.learners).add(id);
  }

  membership(autoLeave: boolean): Membership {
    return {
      voters: [...this.voters].sort(),
      outgoing: this.outgoing,
      learners: [...this.learners].sort(),
      learnersNext: [...this.learnersNext].sort(),
      autoLeave,
    };
  }
}

/** What must hold of every membership. */
export function flawOf({
  voters,
  outgoing,
  learners,
  learnersNext,
  autoLeave,
}: Membership): string | undefined {
  if (voters.length === 0) return 'no voter would be left';
  for (const list of [voters, outgoing, learners, learnersNext]) {
    if (list.some((id, at) => at > 0 && (list[at - 1] as MemberId) >= id)) {
      return 'a list of members is not sorted or names one twice';
    }
  }
  const both = learners.find((id) => voters.includes(id) || outgoing.includes(id));
  if (both !== undefined) return `${both} would be voter and learner at once`;
  const early = learnersNext.find((id) => !outgoing.includes(id) || voters.includes(id));
  if (early !== undefined) return `${early} waits to become a learner but does not leave as a voter`;
  if (outgoing.length === 0 && autoLeave) return 'there is no joint phase to leave';
  return undefined;
}

function checked(membership: Membership): ChangeResult {
  const flaw = flawOf(membership);
  return flaw === undefined ? { ok: true, membership } : refused(flaw);
}

function refused(reason: string): ChangeResult {
  return { ok: false, reason };
}

/** How many voters a set of changes brings or takes. */
function votersMoved(now: Membership, changes: readonly MembershipChange[]): number {
  const draft = new Draft(now);
  for (const change of changes) draft.make(change);
  return symmetricDifference(now.voters, draft.membership(false).voters);
}

function symmetricDifference(before: readonly MemberId[], after: readonly MemberId[]): number {
  return (
    before.filter((id) => !after.includes(id)).length + after.filter((id) => !before.includes(id)).length
  );
}

function sortedMembership(membership: Membership): Membership {
  const { voters, outgoing, learners, learnersNext } = membership;
  return {
    ...emptyMembership,
    autoLeave: membership.autoLeave,
    voters: voters.toSorted(),
    outgoing: outgoing.toSorted(),
    learners: learners.toSorted(),
    learnersNext: learnersNext.toSorted(),
  };
}
