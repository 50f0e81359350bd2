/**
 * Ways to make the core wrong on purpose, to prove that a test would notice. Each replaces rules of `rules.ts` and
 * breaks a promise that some schedule can show; `new RaftCore(config, recovered, faultyRules('forget-vote'))`.
 * A group where every member has the fault shows it soonest.
 */
import { majorityIndex, majorityOf } from '../quorum/majority.js';
import { type Rules, soundRules } from '../rules.js';

interface Fault {
  /** What goes wrong, for the reader of a failed test. */
  breaks: string;
  /** What a world must offer for the fault to show at all. */
  needs?: 'membership-changes';
  rules: Partial<Rules>;
}

export const faults = {
  'count-votes-twice': {
    breaks: 'every granted vote counts twice: two leaders in a term',
    rules: {
      countVotes({ voters }, votes) {
        const granted = voters.filter((voter) => votes.get(voter) === true).length;
        return granted * 2 >= majorityOf(voters.length) ? 'won' : 'pending';
      },
    },
  },
  'two-votes-in-a-term': {
    breaks: 'a voter forgets whom it chose: two leaders in a term',
    rules: { isVoteFree: () => true },
  },
  'forget-vote': {
    breaks: 'the vote is not written: after a restart it is given again in the same term',
    rules: { durableHardState: ({ term, commit }) => ({ term, commit }) },
  },
  'forget-term': {
    breaks: 'the term is not written: a member that restarts votes and answers in terms it had left',
    rules: { durableHardState: ({ commit, term }) => ({ term: Math.min(term, 1), commit }) },
  },
  'vote-for-shorter-log': {
    breaks: 'a candidate without committed entries is elected',
    rules: { isUpToDate: () => true },
  },
  'ack-before-sync': {
    breaks: 'votes and acknowledgements overtake their writes: a crash takes them back',
    rules: { promiseAfter: () => 0 },
  },
  'count-overwritten-write': {
    breaks: 'a write under way vouches for entries that replaced its own',
    rules: { durableAfterCut: (durableIndex) => durableIndex },
  },
  'skip-log-matching': {
    breaks: 'entries are taken after a different one: equal indexes, different logs',
    rules: { logMatches: (log, prevIndex) => prevIndex <= log.lastIndex },
  },
  'truncate-matching-appends': {
    breaks: 'a late request cuts off entries that were acknowledged',
    rules: { firstNew: (_log, entries) => (entries.length > 0 ? 0 : -1) },
  },
  'commit-old-term-by-counting': {
    breaks: "Figure 8: an earlier term's entry is taken for committed and replaced",
    rules: { commitsByCounting: (entryTerm) => entryTerm !== undefined },
  },
  'commit-without-majority': {
    breaks: 'one voter fewer than a majority is enough to commit',
    rules: {
      quorumIndex({ voters }, ackOf) {
        const descending = voters.map(ackOf).sort((a, b) => b - a);
        return descending[Math.max(0, majorityOf(voters.length) - 2)] ?? 0;
      },
    },
  },
  'read-without-round': {
    breaks: 'a leader that was deposed answers reads',
    rules: { isReadConfirmed: () => true },
  },
  'read-before-own-commit': {
    breaks: 'a new leader answers reads from a commit index that is too low',
    rules: { mayServeReads: () => true },
  },
  'reuse-read-contexts': {
    breaks: "after a restart an old read's answer is taken for a new one's",
    rules: { firstReadContext: () => 0 },
  },
  'new-majority-alone-while-joint': {
    breaks: 'the new voters decide before the old ones have handed over',
    needs: 'membership-changes',
    rules: {
      quorumIndex: ({ voters }, ackOf) => majorityIndex(voters, ackOf),
      countVotes: (membership, votes) => soundRules.countVotes({ ...membership, outgoing: [] }, votes),
    },
  },
  'count-learners': {
    breaks: "learners' acknowledgements commit",
    needs: 'membership-changes',
    rules: {
      quorumIndex(membership, ackOf) {
        const counted = [...membership.voters, ...membership.learners];
        const descending = counted.map(ackOf).sort((a, b) => b - a);
        return descending[majorityOf(membership.voters.length) - 1] ?? 0;
      },
    },
  },
  'campaign-while-a-change-is-unapplied': {
    breaks: 'a candidate asks a membership that it knows to be gone',
    needs: 'membership-changes',
    rules: { mayCampaign: () => true },
  },
  'several-changes-at-once': {
    breaks: 'a change begins before the one before it holds',
    needs: 'membership-changes',
    rules: { mayChangeMembership: () => true },
  },
  'keep-lease-on-transfer': {
    breaks: 'a leader that asked another to take over goes on reading by its lease',
    rules: { keepsLease: () => true },
  },
  'lease-too-long': {
    breaks: 'the lease outlasts the promise of the followers',
    rules: { leaseTicks: (electionTicks) => electionTicks * 3 },
  },
  'promise-forgotten-by-restart': {
    breaks: 'a follower that restarts helps to depose a leader that reads by its lease',
    rules: { remembersPromise: () => false },
  },
  'lease-not-protected': {
    breaks: 'followers elect another while the leader reads by its lease',
    rules: { protectsLeader: () => false },
  },
} as const satisfies Record<string, Fault>;

export type FaultName = keyof typeof faults;

export const faultNames = Object.keys(faults) as FaultName[];

export function faultyRules(name: FaultName): Rules {
  return { ...soundRules, ...faults[name].rules };
}

/** What a world must offer for the fault to show; undefined when any will do. */
export function needsOf(name: FaultName): Fault['needs'] {
  const fault: Fault = faults[name];
  return fault.needs;
}
