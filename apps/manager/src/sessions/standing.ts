/** What all nodes are told of their standing, and whose turn it is to renew a certificate. Pure. */
import type { ClusterView, HeldTls, Node, NodeId } from '#libs/model';
import { hasIssuer, wantedTls } from '#libs/pki';
import { managersOf, type ManagerPeer } from '../membership/role.js';
import { nextRenewals } from '../rotation/index.js';

export interface CommonStanding {
  managers: ManagerPeer[];
  wanted: HeldTls | undefined;
  /** A node whose certificate is to be another one, and whose turn has not come. */
  isToWait(node: Pick<Node, 'id' | 'tls'>): boolean;
  /** To be compared with what a node was told last. */
  managersText: string;
  wantedText: string;
}

export function commonStanding(view: ClusterView, connected: ReadonlySet<NodeId>): CommonStanding {
  const managers = managersOf(view);
  const managersText = JSON.stringify(managers);
  const { cluster } = view;
  // Stores of tests may hold a cluster without a CA.
  if (cluster === undefined || cluster.rootCa.certificatePem === '') {
    return { managers, wanted: undefined, isToWait: () => false, managersText, wantedText: '' };
  }
  const wanted = wantedTls(cluster);
  let turn: ReadonlySet<NodeId> | undefined;
  const isInTurn = (id: NodeId): boolean => {
    // Nearly always nobody asks.
    turn ??= nextRenewals({ cluster, nodes: view.nodes.all() }, connected);
    return turn.has(id);
  };
  return {
    managers,
    wanted,
    isToWait: ({ id, tls }) => !hasIssuer(tls, wanted) && !isInTurn(id),
    managersText,
    wantedText: JSON.stringify(wanted),
  };
}

/**
 * What a node seals its key with: empty for none, undefined where that is not to change now. A manager that has only
 * begun may have to start again before it has the cluster's settings, and nobody would open its node's key.
 */
export function unlockKeyFor(
  { manager, spec }: Pick<Node, 'manager' | 'spec'>,
  { cluster }: Pick<ClusterView, 'cluster'>,
): string | undefined {
  // It is to come back as a worker, which nobody unlocks.
  if (spec.Role === 'worker') return '';
  const isVoter = manager?.reachability === 'reachable' || manager?.reachability === 'unreachable';
  return isVoter ? (cluster?.unlockKey ?? '') : undefined;
}
