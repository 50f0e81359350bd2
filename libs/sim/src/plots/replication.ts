/** Plots about entries on their way. */
import type { MemberId } from '#libs/raft';
import type { Plot } from './plot.js';

/** The leader has sent it again meanwhile, and more, and all of it was acknowledged. */
export const lateRequest: Plot = {
  story:
    'a request comes late to a member that has acknowledged more than is in it, and does not know it committed',
  shows: ['truncate-matching-appends'],
  adapt: ({ raft, ...options }) => ({
    ...options,
    members: 3,
    raft: { ...raft, appendEntriesMax: 64, appendBytesMax: 100_000 },
  }),
  *play(stage) {
    const first = yield* stage.settled();
    const [holder, other] = stage.others(first) as [MemberId, MemberId];
    const term = stage.term(first);
    const index = stage.lastIndex(first) + 1;
    stage.separate([first, holder], [other]);
    // What the leader sends again must come before it can tell of a commit.
    stage.take((_, to, message) => to === holder && 'commit' in message && message.commit >= index);
    const late = stage.take(
      (_, to, message) =>
        to === holder &&
        message.kind === 'append-request' &&
        message.entries[0]?.index === index &&
        late.messages.length === 0,
    );
    const isWritten = stage.write(first);
    yield () => late.messages.length > 0;
    const isNextWritten = stage.write(first);
    yield () => stage.durableTerm(holder, index + 1) === term && isWritten() && isNextWritten();
    late.release();
    yield* stage.forMs(300);
    stage.mend();
    stage.separate([first], [holder, other]);
    yield* stage.leader([holder, other], term);
  },
};
