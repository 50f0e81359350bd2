/** A node as Docker's API shows it. */
import type { HeldTls, Node } from '#libs/model';
import { shownTls } from '../../rotation/index.js';
import { presentMeta } from '../edge/present.js';
import { presentTls } from '../swarm/tls-info.js';

export interface NodeContext {
  /** Raft id of the leader as this manager knows it. */
  leaderId: string | undefined;
  /** What every node is to hold. */
  wanted: HeldTls | undefined;
}

/** What `docker info` of each node lists, too. */
const plugins = [
  { Type: 'Log', Name: 'json-file' },
  { Type: 'Log', Name: 'local' },
  { Type: 'Log', Name: 'none' },
  { Type: 'Network', Name: 'bridge' },
  { Type: 'Network', Name: 'host' },
  { Type: 'Network', Name: 'null' },
  { Type: 'Network', Name: 'overlay' },
  { Type: 'Volume', Name: 'local' },
];

export function presentNode(node: Readonly<Node>, context: NodeContext): Record<string, unknown> {
  const { description, status, manager, spec } = node;
  return {
    ...presentMeta(node),
    Spec: { ...spec, Labels: spec.Labels ?? {} },
    Description: {
      Hostname: description.hostname,
      Platform: { Architecture: description.platform.architecture, OS: description.platform.os },
      Resources: {
        NanoCPUs: description.resources.nanoCpus,
        MemoryBytes: description.resources.memoryBytes,
      },
      Engine: {
        EngineVersion: description.engine.version,
        ...(Object.keys(description.engine.labels).length === 0 ? {} : { Labels: description.engine.labels }),
        Plugins: plugins,
      },
      TLSInfo: presentTls(context.wanted && shownTls(node, context.wanted)),
    },
    Status: {
      State: status.state,
      ...(status.message === '' ? {} : { Message: status.message }),
      Addr: status.address,
    },
    ...(manager === undefined
      ? {}
      : {
          ManagerStatus: {
            ...(manager.raftId === context.leaderId ? { Leader: true } : {}),
            Reachability: reachabilityOf(manager, context),
            Addr: manager.address,
          },
        }),
  };
}

/** Whoever leads is reached by all who can be asked. */
function reachabilityOf(manager: NonNullable<Node['manager']>, context: NodeContext): string {
  return manager.raftId === context.leaderId ? 'reachable' : (manager.reachability ?? 'unknown');
}
