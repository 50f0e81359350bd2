/** Plots about reads: what was acknowledged before a read was asked for must show in its answer. */
import type { MemberId } from '#libs/raft';
import { type Plot, withoutLease } from './plot.js';
import type { Script, Stage } from './stage.js';

/** The answer to a question from before a restart comes when another question is out. */
export const lateAnswer: Plot = {
  story: 'a late answer to a read that was asked before a restart comes to a member that asks again',
  shows: ['reuse-read-contexts'],
  adapt: ({ raft, ...options }) => ({ ...options, members: 3, raft: withoutLease(raft) }),
  *play(stage) {
    const leader = yield* stage.settled();
    const [reader = ''] = stage.others(leader);
    const follows = (): boolean => stage.status(reader)?.leader === leader;
    stage.restart(reader, 'kill');
    yield follows;
    const answers = stage.take((_, to, { kind }) => to === reader && kind === 'read-response');
    stage.read(reader);
    yield () => answers.messages.length > 0;
    // It goes on hearing its leader, but gets no entries any more.
    stage.take((_, to, { kind }) => to === reader && kind === 'append-request');
    yield stage.write(leader);
    stage.restart(reader, 'kill');
    yield follows;
    const questions = stage.take((from, _, { kind }) => from === reader && kind === 'read-request');
    const isAnswered = stage.read(reader);
    yield () => questions.messages.length > 0;
    answers.release();
    yield isAnswered;
  },
};

/** A new leader has an entry that was acknowledged, and cannot know that it was. */
export const unknownCommit: Plot = {
  story: 'a new leader is asked for a read before it knows what its predecessor has committed',
  shows: ['read-before-own-commit'],
  adapt: (options) => ({ ...options, members: 3 }),
  *play(stage) {
    const first = yield* stage.settled();
    const term = stage.term(first);
    const index = stage.lastIndex(first) + 1;
    const news = stage.take(
      (from, _, message) => from === first && 'commit' in message && message.commit >= index,
    );
    yield stage.write(first);
    const others = stage.others(first);
    yield () => others.every((id) => stage.durableTerm(id, index) === term);
    stage.separate([first], others);
    news.end();
    const acknowledgements = stage.take((_, __, { kind }) => kind === 'append-response');
    const next = yield* stage.leader(others, term);
    const isAnswered = stage.read(next);
    yield* stage.forMs(300);
    acknowledgements.release();
    acknowledgements.end();
    yield isAnswered;
  },
};

const lastingLease = { electionTicks: 12, readLease: { clockDriftMax: 0.1 } };

/** A leader that asked another to take over, and does not hear that it has. */
export const leaseAndTransfer: Plot = {
  story: 'a leader hands over and hears nothing of it, while others go on',
  shows: ['keep-lease-on-transfer'],
  adapt: ({ raft, ...options }) => ({
    ...options,
    faults: { ...options.faults, clockJump: 0 },
    raft: { ...raft, ...lastingLease },
  }),
  *play(stage) {
    const first = yield* stage.settled();
    const term = stage.term(first);
    const [next = ''] = stage.others(first);
    stage.take((_, to) => to === first);
    stage.process(first)?.transfer(next, () => undefined);
    yield* stage.leader([next], term);
    yield stage.write(next);
    yield stage.read(first);
  },
};

/** Cut off for so long that others have a leader. */
export const cutLeader: Plot = {
  story: 'a leader is cut off and asked for a read when others have another one',
  shows: ['read-without-round'],
  adapt: ({ raft, ...options }) => ({
    ...options,
    raft: { ...withoutLease(raft), electionTicks: 12 },
  }),
  play: electAnotherThenRead,
};

/** The same, and by whose clock is the lease over? */
export const leaseAndCut: Plot = {
  story: 'a leader with a lease is cut off, and others elect one as soon as they may',
  shows: ['lease-too-long', 'lease-not-protected'],
  adapt: ({ raft, ...options }) => ({
    ...options,
    faults: { ...options.faults, clockJump: 0 },
    raft: { ...raft, ...lastingLease },
  }),
  play: electAnotherThenRead,
};

/** Some leaders notice in time that nobody hears them: there is more than one round. */
function* electAnotherThenRead(stage: Stage): Script {
  for (let round = 0; round < 3; round++) {
    const first = yield* stage.settled();
    const term = stage.term(first);
    yield* stage.forMs(stage.world.random.below(1200));
    const others = stage.others(first);
    stage.separate([first], others);
    const [next = ''] = others;
    const leads = (): boolean => stage.status(next)?.role === 'leader' && stage.term(next) > term;
    yield* stage.campaign([next], leads);
    yield stage.write(next);
    yield stage.read(first);
    stage.mend();
  }
}

/** Who has promised not to help falls, and is asked when it is back. */
export const leaseAndRestart: Plot = {
  story: 'a member that keeps a leader in office restarts, just when another asks for its vote',
  shows: ['promise-forgotten-by-restart', 'lease-not-protected'],
  adapt: ({ raft, ...options }) => ({
    ...options,
    members: 3,
    faults: { ...options.faults, clockJump: 0 },
    raft: { ...raft, ...lastingLease },
  }),
  *play(stage) {
    const first = yield* stage.settled();
    const term = stage.term(first);
    const [voter, candidate] = stage.others(first) as [MemberId, MemberId];
    stage.separate([first], [candidate]);
    const requests = stage.take((from, _, { kind }) => from === candidate && kind === 'pre-vote-request');
    yield () => requests.messages.some(({ to }) => to === voter);
    stage.restart(voter, stage.world.random.pick(['kill', 'power']));
    stage.separate([first], [voter]);
    yield () => stage.process(voter) !== undefined;
    requests.end();
    requests.release();
    const next = yield* stage.leader([candidate, voter], term);
    yield stage.write(next);
    yield stage.read(first);
  },
};
