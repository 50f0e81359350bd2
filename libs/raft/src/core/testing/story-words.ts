/** How stories write messages and memberships. */
import { isJoint } from '../membership/membership.js';
import type { MemberId, Membership, MembershipChange, Message } from '../types.js';

export interface Envelope {
  from: MemberId;
  to: MemberId;
  message: Message;
}

/** `+m4 ~m5 -m2` */
export function parseChanges(words: readonly string[]): MembershipChange[] {
  return words.map((word) => {
    const id = word.slice(1);
    if (word.startsWith('+')) return { kind: 'add-voter', id };
    if (word.startsWith('~')) return { kind: 'add-learner', id };
    if (word.startsWith('-')) return { kind: 'remove', id };
    throw new Error(`"${word}" is no change of membership`);
  });
}

export function describeMembership(membership: Membership): string {
  const { voters, outgoing, learners, learnersNext, autoLeave } = membership;
  const parts = [voters.join(' ')];
  if (isJoint(membership)) parts.push(`and ${outgoing.join(' ')}`);
  if (learners.length > 0) parts.push(`learners ${learners.join(' ')}`);
  if (learnersNext.length > 0) parts.push(`next learners ${learnersNext.join(' ')}`);
  if (autoLeave) parts.push('auto-leave');
  return parts.join(', ');
}

function known({ committed }: { committed?: { index: number; term: number } }): string {
  return committed === undefined ? '' : `, committed ${committed.index}/${committed.term}`;
}

export function describe(message: Message): string {
  const { kind, term } = message;
  switch (kind) {
    case 'pre-vote-request':
      return `${kind} term ${term}, log ends at ${message.lastIndex}/${message.lastTerm}${known(message)}`;
    case 'vote-request': {
      const force = message.force ? ', forced' : '';
      return `${kind} term ${term}, log ends at ${message.lastIndex}/${message.lastTerm}${force}${known(message)}`;
    }
    case 'pre-vote-response':
    case 'vote-response':
      return `${kind} term ${term}, ${message.granted ? 'granted' : 'refused'}${known(message)}`;
    case 'append-request': {
      const entries = message.entries.map((entry) => `${entry.index}/${entry.term}`).join(' ') || 'nothing';
      return `append term ${term}, after ${message.prevIndex}/${message.prevTerm}: ${entries}, commit ${message.commit}`;
    }
    case 'append-response':
      return message.result.accepted
        ? `append-response term ${term}, has ${message.result.match}`
        : `append-response term ${term}, rejects ${message.result.rejectedPrev}, hint ${message.result.hintIndex}/${message.result.hintTerm}`;
    case 'heartbeat':
      return `heartbeat term ${term}, commit ${message.commit}, round ${message.readSequence}`;
    case 'heartbeat-response':
      return `heartbeat-response term ${term}, round ${message.readSequence}`;
    case 'timeout-now':
      return `timeout-now term ${term}`;
    case 'read-request':
      return `read-request term ${term}, context ${message.context}`;
    case 'read-response':
      return `read-response term ${term}, context ${message.context}, index ${message.index}`;
    case 'snapshot':
      return `snapshot term ${term}, at ${message.snapshot.index}/${message.snapshot.term}`;
  }
}
