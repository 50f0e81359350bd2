/** What the store should say about each node, from what its session says. */
import type { Change, ClusterView, HeldTls, Node, NodeDescription, NodeId, NodeState } from '#libs/model';
import { isDeepStrictEqual } from 'node:util';

export interface NodeObservation {
  connected: boolean;
  /** The session was ended by the node's side, not by this manager for its silence. */
  hungUp: boolean;
  /** The node said that it does not come back. */
  left?: boolean;
  /** Time of the last message of any session of this manager's life. */
  lastHeardMs: number;
  registration: {
    description: NodeDescription;
    address: string;
    enginePort?: number;
    tls?: HeldTls;
    dataPathAddress?: string;
  };
}

export interface NodeTimes {
  nowMs: number;
  /** When this manager began to lead. */
  startedAtMs: number;
  heartbeatPeriodMs: number;
}

/** A node is down after this many periods without a message. */
export const missedPeriodsMax = 3;
/** Nodes that have not come back to a new leader get longer. */
export const graceMissedPeriodsMax = 6;
/**
 * A node that hung up lives: its kernel closed the connection, its containers and balancer work on, and its agent is
 * most likely being started again. That takes seconds on a busy machine, however short the heartbeat period is.
 */
export const restartGraceMs = 10_000;

/** Patches for the nodes whose stored state differs from what is observed. */
export function planNodeStates(
  view: Pick<ClusterView, 'nodes'>,
  observations: ReadonlyMap<NodeId, NodeObservation>,
  times: NodeTimes,
): Change[] {
  const changes: Change[] = [];
  for (const node of view.nodes.all()) {
    const observation = observations.get(node.id);
    const status = observedStatus(node, observation, times);
    const description = observation?.registration.description ?? node.description;
    const tls = observation?.registration.tls ?? node.tls;
    const fields = {
      ...(isDeepStrictEqual(status, node.status) ? {} : { status }),
      ...(isDeepStrictEqual(description, node.description) ? {} : { description }),
      ...(isDeepStrictEqual(tls, node.tls) ? {} : { tls }),
    };
    if (Object.keys(fields).length > 0)
      changes.push({ op: 'patch', table: 'nodes', id: node.id, fields } as Change);
  }
  return changes;
}

function observedStatus(
  node: Readonly<Node>,
  observation: NodeObservation | undefined,
  times: NodeTimes,
): Node['status'] {
  const address = observation?.registration.address ?? node.status.address;
  const enginePort = observation?.registration.enginePort ?? node.status.enginePort;
  const { dataPathAddress } = observation?.registration ?? node.status;
  const status = (state: NodeState, message: string): Node['status'] => ({
    state,
    message,
    address,
    ...(enginePort === undefined ? {} : { enginePort }),
    ...(dataPathAddress === undefined ? {} : { dataPathAddress }),
  });
  if (observation?.left) return status('down', 'the node has left the cluster');
  if (observation?.connected) return status('ready', '');
  if (node.status.state === 'down') return node.status;
  if (observation) {
    const silentMs = times.nowMs - observation.lastHeardMs;
    const missedMs = missedPeriodsMax * times.heartbeatPeriodMs;
    return silentMs < (observation.hungUp ? Math.max(missedMs, restartGraceMs) : missedMs)
      ? status('disconnected', 'the session of the node ended')
      : status('down', 'heartbeat failure');
  }
  const silentMs = times.nowMs - Math.max(times.startedAtMs, node.createdAtMs);
  const graceMs = Math.max(graceMissedPeriodsMax * times.heartbeatPeriodMs, restartGraceMs);
  if (silentMs >= graceMs) return status('down', 'heartbeat failure');
  return node.status.state === 'unknown'
    ? node.status
    : status('unknown', 'the node has not come to the new leader yet');
}
