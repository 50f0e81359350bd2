/** Plots about who is elected, and what that must not undo. */
import type { MemberId, Message } from '#libs/raft';
import { type Plot, withoutLease } from './plot.js';
import type { Stage } from './stage.js';

/**
 * Figure 8 of the Raft paper. (a) S1 leads and has an entry on S2 alone. (b) S5 is elected by S3 and S4, and has an
 * entry that nobody else has. (c) S1 or S2 is elected again and brings the old entry to a majority, but none of its
 * own term. (d) S5 is elected by those who hold the old entry, and replaces it.
 */
export const figureEight: Plot = {
  story: 'an entry of an old term is on a majority, and is replaced',
  shows: ['commit-old-term-by-counting', 'commit-without-majority', 'skip-log-matching'],
  adapt: ({ raft, ...options }) => ({
    ...options,
    members: 5,
    snapshotEntries: 1000,
    raft: { ...withoutLease(raft), appendEntriesMax: 1 },
  }),
  *play(stage) {
    const s1 = yield* stage.settled();
    const [s2, ...rest] = stage.others(s1) as [MemberId, ...MemberId[]];
    const oldTerm = stage.term(s1);
    stage.separate([s1, s2], rest);
    const index = stage.lastIndex(s1) + 1;
    stage.write(s1);
    yield () => stage.durableTerm(s1, index) === oldTerm && stage.durableTerm(s2, index) === oldTerm;

    const silence = stage.take(
      (from, _, message) => rest.includes(from) && message.kind === 'append-request',
    );
    const s5 = yield* stage.leader(rest, oldTerm);
    const s5Term = stage.term(s5);
    yield () => stage.durableTerm(s5, index) === s5Term;
    silence.end();
    const middle = rest.filter((id) => id !== s5);
    stage.mend();
    stage.separate([s5], stage.others(s5));

    // Whoever has the entry before it would take one of the new term.
    const carriesNew = (to: MemberId, message: Message): boolean =>
      message.kind === 'append-request' &&
      message.entries.some(({ term }) => term > s5Term) &&
      stage.process(to)?.termAt(message.prevIndex) === message.prevTerm;
    stage.take((_, to, message) => carriesNew(to, message));
    const again = yield* stage.leader([s1, s2], s5Term);
    const newTerm = stage.term(again);
    const holdsOld = (): number =>
      stage
        .process(again)
        ?.core?.peers()
        .filter(({ match }) => match >= index).length ?? 0;
    yield () => holdsOld() >= 2;

    stage.mend();
    const voters = stage.others(again, s5);
    stage.separate([again], stage.others(again));
    // Nobody but S5 can win.
    for (const voter of voters)
      stage.separate(
        [voter],
        voters.filter((id) => id !== voter),
      );
    yield () => middle.every((id) => stage.process(id)?.termAt(index) === oldTerm);
    yield* stage.leader([s5], newTerm);
  },
};

/** Two candidates of one term, and a voter that falls right after it has chosen the first. */
export const twoCandidates: Plot = {
  story: 'a voter that has just voted restarts, and another candidate of the same term asks it',
  shows: ['forget-vote', 'two-votes-in-a-term', 'forget-term', 'count-votes-twice', 'ack-before-sync'],
  adapt: ({ raft, ...options }) => ({ ...options, members: 3, raft: withoutLease(raft) }),
  *play(stage) {
    const voter = yield* stage.settled();
    const [a, b] = stage.others(voter) as [MemberId, MemberId];
    stage.separate([a], [b]);
    const votes = stage.take((_, to, { kind }) => to === voter && kind === 'vote-request');
    stage.take((from, to, { kind }) => from !== voter && to === voter && isOfLeader(kind));
    stage.restart(voter, pick(stage));
    const isAsking = (id: MemberId, term: number): boolean =>
      stage.status(id)?.role === 'candidate' &&
      votes.messages.some(({ from, message }) => from === id && message.term === term);
    yield () => stage.process(voter) !== undefined;
    yield* stage.campaign([a, b], () => isAsking(a, stage.term(a)) && isAsking(b, stage.term(a)));
    const term = stage.term(a);
    votes.release((from, _, message) => from === a && message.term === term);
    yield* stage.leader([a], term - 1);
    stage.restart(voter, pick(stage));
    yield () => stage.process(voter) !== undefined;
    votes.release((from, _, message) => from === b && message.term === term);
    yield* stage.forMs(500);
  },
};

/** Who has slept through a write asks first. */
export const shorterLog: Plot = {
  story: 'a member that lacks what was acknowledged asks for the vote of one that has it',
  shows: ['vote-for-shorter-log'],
  adapt: (options) => ({ ...options, members: 3 }),
  *play(stage) {
    const first = yield* stage.settled();
    const term = stage.term(first);
    const [has, lacks] = stage.others(first) as [MemberId, MemberId];
    const index = stage.lastIndex(first) + 1;
    stage.separate([first, has], [lacks]);
    yield stage.write(first);
    yield () => stage.durableTerm(has, index) === term;
    stage.mend();
    stage.separate([first], [has, lacks]);
    stage.take((from, _, { kind }) => from === has && isOfCandidate(kind));
    const leads = (id: MemberId): boolean => stage.status(id)?.role === 'leader' && stage.term(id) > term;
    const { electionTicks } = stage.world.options.raft;
    const giveUpMs = stage.world.scheduler.nowMs + electionTicks * stage.world.options.tickMs * 6;
    yield* stage.campaign([lacks], () => leads(lacks) || stage.world.scheduler.nowMs > giveUpMs);
  },
};

function isOfLeader(kind: Message['kind']): boolean {
  return kind === 'append-request' || kind === 'heartbeat';
}

function pick({ world }: Stage): 'kill' | 'power' {
  return world.random.pick(['kill', 'power']);
}

function isOfCandidate(kind: Message['kind']): boolean {
  return kind === 'pre-vote-request' || kind === 'vote-request';
}
