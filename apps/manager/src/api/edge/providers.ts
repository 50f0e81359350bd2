/** What the controllers are given. Interfaces have no name at run time, so each has a token. */
import type { ClusterStore, IdSource, Node, NodeId, NodeConfig } from '#libs/model';
import type { Telemetry } from '#libs/telemetry';
import type { Clock, Log } from '../../membership/index.js';

export const storeToken = Symbol('ClusterStore');
export const configToken = Symbol('NodeConfig');
export const clockToken = Symbol('Clock');
export const idSourceToken = Symbol('IdSource');
export const randomToken = Symbol('RandomBytes');
export const leadershipToken = Symbol('Leadership');
export const telemetryToken = Symbol('Telemetry');
export const engineDirectoryToken = Symbol('EngineDirectory');
export const logToken = Symbol('Log');

export type RandomBytes = (length: number) => Uint8Array;

export interface Leadership {
  /** Raft id of the present leader, as this manager knows it. */
  leaderId(): string | undefined;
  leaderNode(): Readonly<Node> | undefined;
  /** This manager leads and is at work. */
  readonly leading: boolean;
  /** Resolves once the store shows every write acknowledged before; `not-manager` without a leader. */
  current(waitMs?: number): Promise<void>;
}

/** Where the engine ports of the nodes are, and what this manager shows them. */
export interface EngineDirectory {
  /** Undefined when the node is not connected. */
  engineAddress(nodeId: NodeId): { host: string; port: number } | undefined;
  tls(): { keyPem: string; certificatePem: string; rootCertificatePem: string };
}

/** All that the API needs from the rest of the manager. */
export interface ApiDependencies {
  store: ClusterStore;
  config: NodeConfig;
  clock: Clock;
  newId: IdSource;
  randomBytes: RandomBytes;
  leadership: Leadership;
  telemetry: Telemetry;
  engines: EngineDirectory;
  log: Log;
}
