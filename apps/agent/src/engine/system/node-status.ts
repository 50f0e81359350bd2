/** What the rest of the agent tells the API about this node. */
export interface NodeStatus {
  /** `pending`: joining, or waiting for the cluster; `locked`: its manager waits for `docker swarm unlock`. */
  state: 'inactive' | 'pending' | 'active' | 'error' | 'locked';
  /** Why, for `error`. */
  error?: string;
  nodeId?: string;
  /** Where the cluster reaches this node. */
  address?: string;
  role?: 'manager' | 'worker';
  managers: { nodeId: string; address: string; enginePort?: number }[];
}

export interface NodeCounts {
  containers: number;
  running: number;
  paused: number;
  stopped: number;
  images: number;
}

/** The value of the `Swarm` header: `active/manager`, `pending`, ... */
export function swarmHeader(status: NodeStatus): string {
  return status.state === 'active' ? `active/${status.role ?? 'worker'}` : status.state;
}
