/** Where an image comes from: a registry, or another node that serves its own images by the same protocol. */
import { BlockList, isIPv4 } from 'node:net';
import { Agent, type Dispatcher } from 'undici';
import type { PeerSource } from '../port.js';
import { defaultDomain, repositoryOf, type Reference } from '../reference/reference.js';

export interface RegistryOptions {
  /** `host`, `host:port` or an IPv4 range (`10.0.0.0/8`) spoken to over http. The loopback ones always are. */
  insecureHosts?: readonly string[];
  /** `https://host`: asked before Docker's own registry, in this order, for the images that are there. */
  mirrors?: readonly string[];
  /** PEM of further certificate authorities for https. */
  ca?: string;
  connectTimeoutMs?: number;
  /** The longest silence while an answer's head or body is awaited. */
  idleTimeoutMs?: number;
  /** First pause between attempts; it doubles up to 16 times this. */
  retryDelayMs?: number;
  attemptsMax?: number;
  downloadsMax?: number;
  uploadsMax?: number;
}

export interface Endpoint {
  kind: 'registry' | 'peer';
  /** `https://registry-1.docker.io`, without a slash at the end. */
  baseUrl: string;
  /** What a repository is called there. */
  path: string;
  /** Peers hold images of every registry: the name's domain goes along, as containerd does it for mirrors. */
  query: string;
  dispatcher: Dispatcher;
  idleTimeoutMs: number;
  /** Below this rate over a while a download counts as stuck. */
  bytesPerSecondMin: number;
}

const dockerHubHost = 'registry-1.docker.io';
const defaultConnectTimeoutMs = 10_000;
const defaultIdleTimeoutMs = 30_000;
const peerConnectTimeoutMs = 2000;
const peerIdleTimeoutMs = 5000;
const registryBytesPerSecondMin = 1024;
const peerBytesPerSecondMin = 64 * 1024;

function hostnameOf(host: string): string {
  return host.startsWith('[') ? host.slice(1, host.indexOf(']')) : (host.split(':')[0] ?? host);
}

export function isInsecureHost(host: string, insecureHosts: readonly string[] = []): boolean {
  const name = hostnameOf(host);
  if (name === 'localhost' || name === '::1' || /^127(?:\.\d{1,3}){3}$/.test(name)) return true;
  return insecureHosts.some((entry) => entry === host || entry === name || isInRange(name, entry));
}

function isInRange(name: string, range: string): boolean {
  const [address, prefix, ...rest] = range.split('/');
  const bits = Number(prefix);
  if (!isIPv4(name) || prefix === undefined || rest.length > 0) return false;
  if (!isIPv4(address ?? '') || !/^\d+$/.test(prefix) || bits > 32) return false;
  const addresses = new BlockList();
  addresses.addSubnet(address as string, bits);
  return addresses.check(name);
}

export function registryEndpoint(
  reference: Reference,
  options: RegistryOptions,
  dispatcher: Dispatcher,
): Endpoint {
  const host = reference.domain === defaultDomain ? dockerHubHost : reference.domain;
  const scheme = isInsecureHost(reference.domain, options.insecureHosts) ? 'http' : 'https';
  return {
    kind: 'registry',
    baseUrl: `${scheme}://${host}`,
    path: reference.path,
    query: '',
    dispatcher,
    idleTimeoutMs: options.idleTimeoutMs ?? defaultIdleTimeoutMs,
    bytesPerSecondMin: registryBytesPerSecondMin,
  };
}

/** Docker's rule: a mirror stands for Docker's own registry and for no other. */
export function mirrorEndpoints(
  reference: Reference,
  options: RegistryOptions,
  dispatcher: Dispatcher,
): Endpoint[] {
  if (reference.domain !== defaultDomain) return [];
  const registry = registryEndpoint(reference, options, dispatcher);
  return (options.mirrors ?? []).map((url) => ({ ...registry, baseUrl: url.replace(/\/+$/, '') }));
}

export function registryDispatcher(options: RegistryOptions): Agent {
  const timeout = options.connectTimeoutMs ?? defaultConnectTimeoutMs;
  return new Agent({ connect: options.ca === undefined ? { timeout } : { timeout, ca: options.ca } });
}

/** The caller closes the dispatcher. */
export function peerEndpoint(
  peer: PeerSource,
  reference: Reference,
  options: RegistryOptions,
): Endpoint & { dispatcher: Agent } {
  const idleTimeoutMs = Math.min(options.idleTimeoutMs ?? peerIdleTimeoutMs, peerIdleTimeoutMs);
  const dispatcher = new Agent({
    connect: { ...peer.tls, rejectUnauthorized: true, timeout: peerConnectTimeoutMs },
  });
  return {
    kind: 'peer',
    baseUrl: peer.baseUrl.replace(/\/+$/, ''),
    path: repositoryOf(reference).slice(reference.domain.length + 1),
    query: `?ns=${encodeURIComponent(reference.domain)}`,
    dispatcher,
    idleTimeoutMs,
    bytesPerSecondMin: peerBytesPerSecondMin,
  };
}
