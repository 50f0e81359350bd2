/** Everything a node's processes are started with: one JSON file, written once by whoever makes the node. */
import type { ErrorCode } from './errors.js';
export interface NodeConfig {
  clusterName: string;
  /** Also the hostname the cluster shows: `node-1`. */
  nodeName: string;
  /** `/var/lib/enxame/<cluster>/<node>`: all that must outlive the processes. */
  stateDir: string;
  /** `/run/enxame/<cluster>/<node>`: sockets and pid files. Short, since socket paths end at 107 bytes. */
  runDir: string;
  /** `/run/enxame/<cluster>/<node>.sock`: the node's Docker API. */
  apiSocket: string;
  /** `<runDir>/manager.sock`: the manager process's private HTTP socket. */
  managerSocket: string;
  /** Underlay IPv4 address the other nodes reach this one at. */
  address: string;
  /** Where the other nodes send overlay traffic to; absent: `address`. */
  dataPathAddress?: string;
  /** gRPC port of a manager and engine port of every node, both with mutual TLS. */
  clusterPort: number;
  enginePort: number;
  /**
   * How the node comes to a cluster on its first start; ignored once its state folder says what it has become.
   * `none`: it serves containers and images, and waits for `docker swarm init` or `join`.
   */
  membership:
    | { kind: 'none' }
    | {
        kind: 'init';
        addressPools: string[];
        subnetSize: number;
        dataPathPort: number;
        heartbeatPeriodMs?: number;
      }
    | {
        kind: 'join';
        token: string;
        remoteAddresses: string[];
        availability?: 'active' | 'pause' | 'drain';
      };
  /** For a manager's next start: it goes on as the only one, with all that its log holds. */
  forceNewCluster?: boolean;
  /** Below each cgroup v1 controller, or below the cgroup2 mount: `/enxame/<cluster>/<node>`. */
  cgroupParent: string;
  network: {
    /** Names kernel objects on this node: at most 8 of `[a-z0-9]`. */
    tag: string;
    linkLocalGateway: string;
    markBase: number;
  };
  /** Registries spoken to over plain HTTP beside loopback: `host`, `host:port` or an IPv4 CIDR. */
  insecureRegistries: string[];
  /** `https://host`: asked before Docker Hub for what is there. */
  registryMirrors?: string[];
  /** `redis://...`; absent: in process. */
  telemetryUrl?: string;
  logLevel: 'debug' | 'info' | 'warn' | 'error';
}

/** On a node's engine port: the way for other managers to the API of the manager there. */
export const managerOfNode = '/_enxame/manager';
/** On a node's engine port: where a new leader tells that it leads. */
export const leaderOfNode = '/_enxame/leader';

/** On a manager's private socket, for the agent beside it: a certificate, and what the node's key is sealed with. */
export const localCertificate = '/_enxame/local-certificate';
export const localUnlockKey = '/_enxame/local-unlock-key';

/** What a manager process that could not go on says of why. Beside its socket; gone when a manager has started. */
export interface ManagerFailure {
  code: ErrorCode;
  message: string;
}

export function managerFailureFile(config: Pick<NodeConfig, 'managerSocket'>): string {
  return `${config.managerSocket}.failure`;
}

/** There while the manager process waits to be unlocked. */
export function managerLockedFile(config: Pick<NodeConfig, 'managerSocket'>): string {
  return `${config.managerSocket}.locked`;
}

export const swarmLocked =
  'Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.';
