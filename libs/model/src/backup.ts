/** What a backup of a cluster begins with. */
import type { ClusterId, NodeId } from './ids.js';

export const backupFormat = 1;

export interface BackupHead {
  enxameBackup: typeof backupFormat;
  clusterId: ClusterId;
  /** The manager that made it: the node that comes back from it. */
  nodeId: NodeId;
  /** Of the last log entry it holds, and of the leader at that time. */
  index: number;
  term: number;
  atMs: number;
}
