/** Plots about changes of membership. */
import type { MemberId, MembershipChange, Message } from '#libs/raft';
import type { Plot } from './plot.js';

/** The new voters have a majority of their own, and so have the old ones. */
export const twoHalves: Plot = {
  story: 'in a joint phase the new voters are on one side of a cut, the old ones on the other',
  shows: ['new-majority-alone-while-joint'],
  adapt: ({ raft, ...options }) => ({
    ...options,
    members: 3,
    snapshotEntries: 1000,
    raft: { ...raft, electionTicks: 12 },
  }),
  *play(stage) {
    const { world } = stage;
    const leader = yield* stage.settled();
    const [knows, lacks] = stage.others(leader) as [MemberId, MemberId];
    const newcomers = [world.newMember(), world.newMember()].map((member) => {
      world.start(member);
      return member.id;
    });
    // So far nobody but the leader is to act on it.
    stage.separate([leader, knows], [lacks]);
    const index = stage.lastIndex(leader) + 1;
    stage.take((_, to, message) => to === knows && tellsOf(message, index));
    const changes: MembershipChange[] = [
      ...[knows, lacks].map((id) => ({ kind: 'remove', id }) as const),
      ...newcomers.map((id) => ({ kind: 'add-voter', id }) as const),
    ];
    const outcome = stage.change(leader, changes, 'joint-until-left');
    yield () => outcome() === 'done';
    yield () => newcomers.every((id) => stage.lastIndex(id) === stage.lastIndex(leader));
    const term = stage.term(leader);
    stage.mend();
    stage.separate([leader, ...newcomers], [knows, lacks]);
    stage.write(leader);
    yield* stage.forMs(500);
    yield* stage.leader([knows], term);
  },
};

/** There are enough of them for a majority, had they a vote. */
export const amongLearners: Plot = {
  story: 'a leader is left alone with its learners, and takes a write',
  shows: ['count-learners'],
  adapt: ({ raft, ...options }) => ({
    ...options,
    members: 3,
    snapshotEntries: 1000,
    raft: { ...raft, electionTicks: 12 },
  }),
  *play(stage) {
    const { world } = stage;
    const leader = yield* stage.settled();
    const voters = stage.others(leader);
    const learners: MemberId[] = [];
    for (let count = 0; count < 2; count++) {
      const member = world.newMember();
      world.start(member);
      learners.push(member.id);
      const outcome = stage.change(leader, [{ kind: 'add-learner', id: member.id }], 'auto');
      yield () => outcome() === 'done';
    }
    yield () => stage.others(leader).every((id) => stage.lastIndex(id) === stage.lastIndex(leader));
    const term = stage.term(leader);
    const index = stage.lastIndex(leader) + 1;
    stage.separate([leader, ...learners], voters);
    stage.write(leader);
    yield () => learners.every((id) => stage.durableTerm(id, index) === term);
    yield* stage.leader(voters, term);
  },
};

function tellsOf(message: Message, index: number): boolean {
  if ('commit' in message) return message.commit >= index;
  return 'committed' in message && (message.committed?.index ?? 0) >= index;
}

/** It knows that the voters are others now, and its state machine has yet to come there. */
export const lateChange: Plot = {
  story:
    'a member whose state machine is late knows of two changes of membership, and meets those who were removed',
  shows: ['campaign-while-a-change-is-unapplied'],
  adapt: ({ raft, ...options }) => ({
    ...options,
    members: 5,
    applyDelayMs: 0,
    snapshotEntries: 1000,
    raft: { ...raft, applyingBytesMax: 300 },
  }),
  *play(stage) {
    const { world } = stage;
    const leader = yield* stage.settled();
    const [stays, late, ...leaving] = stage.others(leader) as [MemberId, MemberId, ...MemberId[]];
    const member = world.members.get(late);
    if (member === undefined) return;
    member.applyStalledUntilMs = world.scheduler.nowMs + 30_000;
    for (let count = 0; count < 8; count++) yield stage.write(leader);
    for (const id of leaving) {
      const outcome = stage.change(leader, [{ kind: 'remove', id }], 'auto');
      yield () => outcome() === 'done';
    }
    const term = stage.term(leader);
    yield () => stage.status(late)?.commit === stage.status(leader)?.commit;
    stage.separate([leader, stays], [late, ...leaving]);
    yield stage.write(leader);
    const { electionTicks } = world.options.raft;
    yield* stage.forMs(electionTicks * world.options.tickMs * 6);
    member.applyStalledUntilMs = 0;
    yield () => stage.term(leader) >= term;
  },
};
