/** Who is at the other end of the engine port, by the certificate it showed, and what that lets it do. */
import type { Caller } from '#libs/docker-api';
import { EnxameError, leaderOfNode, managerOfNode } from '#libs/model';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';

const roleUnits: Readonly<Record<string, 'manager' | 'worker'>> = {
  'swarm-manager': 'manager',
  'swarm-worker': 'worker',
};

/** The node's key and certificate, as `#libs/pki` reads them from disk. */
export interface EngineIdentity {
  /** Where the engine port is opened. */
  address: string;
  port: number;
  clusterId: string;
  keyPem: string;
  certificatePem: string;
  rootCertificatePem: string;
}

/** Reads node and role from a verified certificate; `unauthorized` when it is not one of this cluster's nodes. */
export function peerOf(connection: Duplex, clusterId: string): Caller {
  if (!(connection instanceof TLSSocket) || !connection.authorized) {
    throw new EnxameError('unauthorized', "a certificate of this cluster's CA is required");
  }
  const subject = connection.getPeerCertificate().subject as unknown as Record<string, unknown> | undefined;
  const role = roleUnits[String(subject?.['OU'])];
  const nodeId = subject?.['CN'];
  if (role === undefined || typeof nodeId !== 'string' || subject?.['O'] !== clusterId) {
    throw new EnxameError('unauthorized', 'the certificate does not name a node of this cluster');
  }
  return { kind: 'node', nodeId, role };
}

/** Managers drive the engine; workers may only fetch images. Private routes are for the machine's own root. */
export function requirePeerAccess(caller: Caller, path: string): void {
  if (caller.kind === 'local') return;
  const isDistribution = path === '/v2' || path.startsWith('/v2/');
  const isPrivate = path.startsWith('/_enxame/') && path !== leaderOfNode && !isManagerApi(path);
  if (isDistribution || (caller.role === 'manager' && !isPrivate)) return;
  throw new EnxameError('forbidden', `a ${caller.role} node may not call ${path} of another node`);
}

/** Docker's API of the manager on this node; what is private there is so for other nodes, too. */
export function isManagerApi(path: string): boolean {
  if (!path.startsWith(`${managerOfNode}/`)) return false;
  return !/^(\/v\d+(\.\d+)?)?\/+_enxame(\/|$)/.test(path.slice(managerOfNode.length));
}
