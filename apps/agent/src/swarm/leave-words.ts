/** Docker's warnings before a manager leaves its cluster. Pure. */
const opening = 'You are attempting to leave the swarm on a node that is participating as a manager. ';
const closing =
  'The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use `--force` to suppress this message.';

export interface ManagerCounts {
  reachable: number;
  unreachable: number;
}

/** `counts` is undefined when the managers cannot say how many of them there are. */
export function leaveWarning(counts: ManagerCounts | undefined): string {
  if (counts === undefined) return `${opening}Doing so may lose the consensus of your cluster. ${closing}`;
  const { reachable, unreachable } = counts;
  if (reachable === 1 && unreachable === 0) {
    return `${opening}Removing the last manager erases all current state of the swarm. Use \`--force\` to ignore this message. `;
  }
  const left = reachable - 1;
  const all = reachable + unreachable;
  const losesQuorum = left <= Math.floor(all / 2);
  return losesQuorum
    ? `${opening}Removing this node leaves ${left} managers out of ${all}. Without a Raft quorum your swarm will be inaccessible. ${closing}`
    : opening + closing;
}
