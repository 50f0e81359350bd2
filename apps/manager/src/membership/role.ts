/** What a node is now, between what it was and what its user wants it to be. Pure. */
import type { ClusterView, Node } from '#libs/model';

/** A manager stays one until it has left the Raft group; one that is to be joins the group as a certified manager. */
export function roleOf(node: Readonly<Pick<Node, 'spec' | 'manager'>>): 'manager' | 'worker' {
  return node.manager === undefined ? node.spec.Role : 'manager';
}

export interface ManagerPeer {
  nodeId: string;
  address: string;
  /** Of its node; 0 while it is not known. */
  enginePort: number;
}

/** Every manager of the cluster, by node id. */
export function managersOf(view: Pick<ClusterView, 'nodes'>): ManagerPeer[] {
  const managers: ManagerPeer[] = [];
  for (const node of view.nodes.all()) {
    if (node.manager !== undefined) {
      const { address } = node.manager;
      managers.push({ nodeId: node.id, address, enginePort: node.status.enginePort ?? 0 });
    }
  }
  return managers;
}
