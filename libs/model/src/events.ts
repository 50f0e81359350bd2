/** Volatile facts: never in the Raft log. */
import type { NodeId } from './ids.js';

/** One line of `docker events`. Times are nanoseconds since the epoch in `timeNano`. */
export interface ClusterEvent {
  /** `service`, `node`, `task`, `container`, `image`, `network`, `volume`, `daemon`. */
  Type: string;
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> };
  scope: 'swarm' | 'local';
  time: number;
  timeNano: number;
  /** The node it happened on, for events of containers and images. */
  nodeId?: NodeId;
}

/** One stats sample of a container. */
export interface StatsSample {
  nodeId: NodeId;
  containerId: string;
  taskId?: string;
  serviceId?: string;
  atMs: number;
  cpuNanoseconds: number;
  memoryBytes: number;
  pids: number;
  networkReceivedBytes: number;
  networkSentBytes: number;
}
