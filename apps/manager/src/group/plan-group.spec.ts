import type { Node, NodeId, Reachability } from '#libs/model';
import type { PeerStatus, RaftMember } from '#libs/raft';
import { expect } from 'chai';
import { nextGroupStep, removalRefusal, type GroupStep } from './plan-group.js';

type Role = 'manager' | 'worker';

/** `a=manager/r1` is node a with this role and, where it has one, this Raft id; `!` marks one that is unreachable, `?` one without a vote. */
function nodes(text: string): Node[] {
  return text.split(' ').map((word) => {
    const [, id = '', role = '', raftId, mark] = /^(\w+)=(\w+)(?:\/(\w+))?([!?])?$/.exec(word) ?? [];
    const reachability: Reachability = mark === '!' ? 'unreachable' : mark === '?' ? 'unknown' : 'reachable';
    return {
      id: id as NodeId,
      spec: { Role: role as Role },
      ...(raftId === undefined ? {} : { manager: { raftId, address: `${id}:1`, reachability } }),
    } as Node;
  });
}

/** `r1 r2+90`: r1 votes, r2 learns and has the log up to 90. */
function group(text: string): { members: RaftMember[]; peers: PeerStatus[] } {
  const peers = text.split(' ').map((word): PeerStatus => {
    const [id = '', match] = word.split('+');
    const progress = { state: 'replicate' as const, match: Number(match ?? 1000), next: 0 };
    return { id, kind: match === undefined ? 'voter' : 'learner', reachable: true, progress };
  });
  return { members: peers.map(({ id, kind }) => ({ id, kind })), peers };
}

describe('the Raft group follows the nodes', () => {
  const change = (kind: 'add-learner' | 'add-voter' | 'remove', id: string): GroupStep => ({
    kind: 'change',
    change: { kind, id },
  });
  const table: [what: string, nodes: string, members: string, GroupStep | undefined][] = [
    ['nothing to do', 'a=manager/r1 b=worker', 'r1', undefined],
    ['a promoted node that has not come yet', 'a=manager/r1 b=manager', 'r1', undefined],
    ['a promoted node that has come', 'a=manager/r1 b=manager/r2', 'r1', change('add-learner', 'r2')],
    ['a learner far behind', 'a=manager/r1 b=manager/r2', 'r1 r2+10', undefined],
    ['a learner that has nearly all', 'a=manager/r1 b=manager/r2', 'r1 r2+900', change('add-voter', 'r2')],
    ['a demoted manager', 'a=manager/r1 b=worker/r2', 'r1 r2', change('remove', 'r2')],
    [
      'a demoted manager that is out',
      'a=manager/r1 b=worker/r2',
      'r1',
      { kind: 'release', nodeId: 'b' as NodeId },
    ],
    ['the leader is demoted', 'a=worker/r1 b=manager/r2', 'r1 r2', { kind: 'hand-over' }],
    ['additions come before removals', 'a=worker/r1 b=manager/r2', 'r1', change('add-learner', 'r2')],
    ['a member without a node', 'a=manager/r1', 'r1 r2', change('remove', 'r2')],
    [
      'a manager that came back with an empty folder',
      'a=manager/r1 b=manager/r3',
      'r1 r2',
      change('add-learner', 'r3'),
    ],
  ];
  for (const [what, nodeText, members, step] of table) {
    it(what, () => {
      const view = { self: 'r1', lastIndex: 1000, nodes: nodes(nodeText), ...group(members) };
      expect(nextGroupStep(view)).to.deep.equal(step);
    });
  }

  const refusals: [nodes: string, leaving: string, words: string | undefined][] = [
    ['a=manager/r1 b=worker', 'a', 'attempting to demote the last manager'],
    ['a=manager/r1 b=manager/r2', 'b', undefined],
    ['a=manager/r1 b=manager/r2?', 'a', 'attempting to demote the last manager'],
    ['a=manager/r1 b=manager/r2!', 'b', undefined],
    ['a=manager/r1 b=manager/r2!', 'a', 'loss of quorum'],
    ['a=manager/r1 b=manager/r2 c=manager/r3!', 'c', undefined],
    ['a=manager/r1 b=manager/r2 c=manager/r3!', 'b', 'loss of quorum'],
    ['a=manager/r1 b=manager/r2 c=manager/r3', 'b', undefined],
    ['a=manager/r1 b=manager/r2 c=manager/r3 d=manager/r4! e=manager/r5!', 'a', 'loss of quorum'],
  ];
  for (const [nodeText, leaving, words] of refusals) {
    it(`without ${leaving} of ${nodeText}: ${words ?? 'may go'}`, () => {
      const refusal = removalRefusal(nodes(nodeText), leaving as NodeId);
      if (words === undefined) expect(refusal).to.equal(undefined);
      else expect(refusal).to.contain(words);
    });
  }
});
