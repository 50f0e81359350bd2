/**
 * The Raft group's way to what the cluster's nodes say: the next step, one at a time. Pure.
 *
 * A node that is to be a manager first gets the log as a learner, and a vote when it has nearly all of it: a new
 * voter without the log would count for a quorum it cannot help to reach.
 */
import type { Node, NodeId } from '#libs/model';
import type { MembershipChange, PeerStatus, RaftMember } from '#libs/raft';

export interface GroupView {
  /** Raft id of this manager, which leads. */
  self: string;
  members: readonly RaftMember[];
  peers: readonly PeerStatus[];
  lastIndex: number;
  nodes: Iterable<Readonly<Node>>;
}

export type GroupStep =
  | { kind: 'change'; change: MembershipChange }
  /** This manager is to go: another one has to lead first. */
  | { kind: 'hand-over' }
  /** The node is out of the group: it is no manager any more. */
  | { kind: 'release'; nodeId: NodeId };

/** A learner this close behind catches up in one round. */
const catchUpEntriesMax = 500;

/** Undefined when the group is as the nodes say. */
export function nextGroupStep(view: GroupView): GroupStep | undefined {
  const kinds = new Map(view.members.map(({ id, kind }) => [id, kind]));
  const known = new Set<string>();
  let removal: GroupStep | undefined;
  for (const { id: nodeId, manager, spec } of view.nodes) {
    if (manager === undefined) continue;
    const { raftId } = manager;
    known.add(raftId);
    const kind = kinds.get(raftId);
    if (spec.Role === 'manager') {
      if (kind === undefined) return { kind: 'change', change: { kind: 'add-learner', id: raftId } };
      if (kind === 'learner' && isNearlyWhole(view, raftId)) {
        return { kind: 'change', change: { kind: 'add-voter', id: raftId } };
      }
      continue;
    }
    if (kind === undefined) return { kind: 'release', nodeId };
    removal ??=
      raftId === view.self
        ? { kind: 'hand-over' }
        : { kind: 'change', change: { kind: 'remove', id: raftId } };
  }
  if (removal !== undefined) return removal;
  // A member that no node answers for: its node was removed, or came back with an empty folder.
  const stray = view.members.find(({ id }) => id !== view.self && !known.has(id));
  return stray && { kind: 'change', change: { kind: 'remove', id: stray.id } };
}

function isNearlyWhole(view: GroupView, id: string): boolean {
  const progress = view.peers.find((peer) => peer.id === id)?.progress;
  return progress?.state === 'replicate' && progress.match + catchUpEntriesMax >= view.lastIndex;
}

/** Why this manager can not be taken out of the group now; undefined when it can. */
export function removalRefusal(managers: Iterable<Readonly<Node>>, leaving: NodeId): string | undefined {
  let others = 0;
  let reachable = 0;
  for (const { id, manager } of managers) {
    if (manager === undefined || id === leaving) continue;
    // One that has no vote yet helps to no majority.
    if (manager.reachability !== 'reachable' && manager.reachability !== 'unreachable') continue;
    others += 1;
    if (manager.reachability === 'reachable') reachable += 1;
  }
  if (others === 0) return 'attempting to demote the last manager of the swarm';
  if (reachable < Math.floor(others / 2) + 1) {
    return "can't remove member from the raft: this would result in a loss of quorum";
  }
  return undefined;
}
