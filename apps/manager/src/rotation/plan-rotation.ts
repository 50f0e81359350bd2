/**
 * The replacement of the cluster's root, as it stands: who is to get a certificate next, and whether it is over. All of
 * it is in the store, so a new leader goes on where the last one was. Pure.
 *
 * While it lasts nodes trust the old root, and new certificates lead to it over the new root's key, certified by the
 * old one; so everybody verifies everybody, in whatever order they renew. A node that is down keeps it going until it
 * comes back or is removed: afterwards it could not be told from a stranger.
 */
import type { Cluster, HeldTls, Node, NodeId } from '#libs/model';
import { hasIssuer, wantedTls } from '#libs/pki';

export interface RotationView {
  cluster: Pick<Cluster, 'rootCa' | 'rootRotation'>;
  nodes: Iterable<Pick<Node, 'id' | 'manager' | 'tls' | 'managerTls'>>;
}

/** At once, as SwarmKit's: the certificates of a large cluster are signed without holding up its managers. */
export const renewalsAtOnceMax = 30;

/** True when nothing in the cluster is certified by the old root any more. */
export function isRotationComplete({ cluster, nodes }: RotationView): boolean {
  if (cluster.rootRotation === undefined) return false;
  const wanted = wantedTls(cluster);
  for (const node of nodes) if (!holds(node, wanted)) return false;
  return true;
}

/** Of the nodes that can be told, those to be told now that their certificate is to be renewed. */
export function nextRenewals(view: RotationView, connected: ReadonlySet<NodeId>): ReadonlySet<NodeId> {
  const wanted = wantedTls(view.cluster);
  const turn = new Set<NodeId>();
  for (const { id, tls } of view.nodes) {
    if (turn.size === renewalsAtOnceMax) break;
    if (connected.has(id) && !hasIssuer(tls, wanted)) turn.add(id);
  }
  return turn;
}

/**
 * What a node shows of itself: a manager's process has a certificate of its own, and the node is as far as the one of
 * the two that is behind.
 */
export function shownTls(node: RotationNode, wanted: HeldTls): HeldTls | undefined {
  if (node.manager === undefined || node.managerTls === undefined) return node.tls;
  const isBehind =
    !hasIssuer(node.managerTls, wanted) || node.managerTls.trustRootPem !== wanted.trustRootPem;
  return isBehind && hasIssuer(node.tls, wanted) ? node.managerTls : node.tls;
}

type RotationNode = Pick<Node, 'manager' | 'tls' | 'managerTls'>;

function holds(node: RotationNode, wanted: HeldTls): boolean {
  return hasIssuer(node.tls, wanted) && (node.manager === undefined || hasIssuer(node.managerTls, wanted));
}
