/**
 * Every node's way in: the Docker API on a unix socket for the machine, and the engine routes on a port with mutual
 * TLS for the other nodes. What the cluster keeps goes on to the manager of this node.
 */
import {
  apiVersion,
  createApiServer,
  peekJsonOf,
  type ApiServer,
  type Exchange,
  type Route,
} from '#libs/docker-api';
import { EnxameError, managerOfNode, type NodeConfig } from '#libs/model';
import type { Telemetry } from '#libs/telemetry';
import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import { eventRoutes } from '../events/event-routes.js';
import type { ClusterInfo } from '../system/info.js';
import { readMachine } from '../system/machine.js';
import type { NodeCounts, NodeStatus } from '../system/node-status.js';
import { productName, productVersion } from '../system/product.js';
import { systemRoutes } from '../system/system-routes.js';
import { ClusterForward, isClusterPath, isElsewhere, type LocalContainers } from './cluster-forward.js';
import { notThereYetRoutes } from './not-there-yet.js';
import { isManagerApi, peerOf, requirePeerAccess, type EngineIdentity } from './peer.js';
import { swarmRoutes, type SwarmVerbs } from './swarm-routes.js';
import { listenUnix } from './unix-listener.js';

export interface FrontDoorOptions {
  config: NodeConfig;
  /** This node's engine: containers, exec, images, volumes, private routes. */
  routes: Route[];
  /** What other nodes may ask besides: `/v2/` of the image store. */
  peerRoutes: Route[];
  local: LocalContainers;
  swarm: SwarmVerbs;
  status(): NodeStatus;
  counts(): NodeCounts;
  /** The node's own networks, and the way to the cluster's. */
  networkRoutes(forward: ClusterForward): Route[];
  /** This node's own events. */
  telemetry: Telemetry;
  nowMs(): number;
  log(error: unknown, what: string): void;
}

export interface FrontDoor {
  /** Opens the unix socket. */
  start(): Promise<void>;
  /** Opens the engine port, or changes its certificate when it is open. */
  useIdentity(identity: EngineIdentity): Promise<void>;
  /** Closes the engine port and cuts what is open there. */
  closeEnginePort(): Promise<void>;
  close(): Promise<void>;
}

const clusterInfoWaitMs = 2_000;
/** A half-open connection that stops inside its handshake would else stay for two minutes. */
const handshakeWaitMs = 10_000;
const apiSocketMode = 0o660;

export function createFrontDoor(options: FrontDoorOptions): FrontDoor {
  const { config } = options;
  const forward = new ClusterForward(config, options.status, () => identity);
  const engine = engineRoutes(options, forward);
  const headers = (): Record<string, string> => ({
    'Api-Version': apiVersion,
    'Docker-Experimental': 'false',
    Ostype: 'linux',
    Server: `${productName}/${productVersion} (linux)`,
  });

  const localApi: ApiServer = createApiServer({
    routes: engine,
    headers,
    log: options.log,
    before: (exchange) => passToCluster(exchange),
  });
  let identity: EngineIdentity | undefined;
  const peerApi: ApiServer = createApiServer({
    routes: [...engine, ...options.peerRoutes],
    headers,
    log: options.log,
    caller: (connection) => peerOf(connection, identity?.clusterId ?? ''),
    before: async (exchange) => {
      requirePeerAccess(exchange.caller, exchange.path);
      if (!isManagerApi(exchange.path)) return false;
      const query = exchange.query.toString();
      const path = exchange.path.slice(managerOfNode.length) + (query === '' ? '' : `?${query}`);
      await forward.passHere(exchange, path);
      return true;
    },
  });

  /** Sends on what this node cannot answer. Never for another node: what it asks for is here or nowhere. */
  async function passToCluster(exchange: Exchange): Promise<boolean> {
    const joinsOrLeaves = /^\/swarm\/(init|join|leave)$/.test(exchange.path);
    const elsewhere = forward.hasManager() && isElsewhere(exchange.path, options.local);
    if (!elsewhere && (joinsOrLeaves || !isClusterPath(exchange.path))) return false;
    // As for a container of this node: a body that is none is refused before anybody looks for the container.
    await forward.pass(takesJson(exchange) ? (await peekJsonOf(exchange)).exchange : exchange);
    return true;
  }

  let local: Server | undefined;
  let peers: { server: TlsServer; address: string; port: number } | undefined;

  async function closeEnginePort(): Promise<void> {
    const server = peers?.server;
    peers = undefined;
    if (server === undefined) return;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  }

  return {
    async start() {
      local = createServer();
      localApi.attach(local);
      await listenUnix(local, config.apiSocket, apiSocketMode);
    },
    async useIdentity(current) {
      identity = current;
      const { address, port } = current;
      const material = {
        key: current.keyPem,
        cert: current.certificatePem,
        ca: current.rootCertificatePem,
        minVersion: 'TLSv1.3' as const,
      };
      if (peers?.address === address && peers.port === port) return peers.server.setSecureContext(material);
      await closeEnginePort();
      const server = createTlsServer({
        ...material,
        requestCert: true,
        rejectUnauthorized: true,
        // A client without input closes its side at once and still reads.
        allowHalfOpen: true,
        handshakeTimeout: handshakeWaitMs,
        noDelay: true,
      } as Parameters<typeof createTlsServer>[0]);
      peers = { server, address, port };
      peerApi.attach(server);
      await listenTcp(server, address, port);
    },
    closeEnginePort,
    async close() {
      await Promise.all([localApi.close(), peerApi.close()]);
    },
  };
}

function takesJson({ request, path }: Exchange): boolean {
  return request.method === 'POST' && /^\/(containers\/[^/]+\/(exec|update)|exec\/[^/]+\/start)$/.test(path);
}

function engineRoutes(options: FrontDoorOptions, forward: ClusterForward): Route[] {
  const { config } = options;
  const hasManager = (): boolean => forward.hasManager();
  const present: Route[] = [
    ...options.routes,
    ...systemRoutes({
      config,
      machine: readMachine(),
      status: () => options.status(),
      counts: () => options.counts(),
      nowMs: () => options.nowMs(),
      clusterInfo: () => readClusterInfo(forward),
    }),
    ...eventRoutes({ config, telemetry: options.telemetry, hasManager, nowMs: () => options.nowMs() }),
    ...options.networkRoutes(forward),
    ...swarmRoutes(options.swarm, forward),
  ];
  return [...present, ...notThereYetRoutes(present)];
}

async function readClusterInfo(forward: ClusterForward): Promise<ClusterInfo | undefined> {
  if (!forward.hasManager()) return undefined;
  try {
    const { status, body } = await forward.read('/_enxame/info', clusterInfoWaitMs);
    return status === 200 ? (body as ClusterInfo) : undefined;
  } catch (error) {
    // `docker info` tells about the node also while its manager is away.
    if (error instanceof EnxameError) return undefined;
    throw error;
  }
}

function listenTcp(server: TlsServer, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
