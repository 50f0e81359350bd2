/** How the node comes by its certificate, once, and by the next one before it ends. */
import { describeError, EnxameError, isEnxameError, type NodeConfig } from '#libs/model';
import {
  createCertificateRequest,
  managerServerName,
  parseJoinToken,
  readNodeIdentity,
  readPendingKey,
  renewalTimeMs,
  verifyRootCertificate,
  writeNodeIdentity,
  writePendingKey,
  type NodeIdentity,
} from '#libs/pki';
import { ca, callUnary, createRpcClient, type ClientTls } from '#libs/rpc';
import { setTimeout as sleep } from 'node:timers/promises';
import { Backoff } from '../session/backoff.js';
import type { Log } from './log.js';
import { postToManager } from './manager-socket.js';

export interface IdentityOptions {
  config: NodeConfig;
  nowMs(): number;
  fraction(): number;
  log: Log;
}

const callTimeoutMs = 10_000;
const joinBackoff = { firstMs: 100, maxMs: 5_000 };
const localBackoff = { firstMs: 50, maxMs: 1_000 };
const renewalBackoff = { firstMs: 5_000, maxMs: 3_600_000 };
/** Node timers overflow past 24.8 days. */
const timerMsMax = 24 * 24 * 3_600_000;

/** The certificates a process needs to reach a manager as this node. */
export function mutualTls(identity: NodeIdentity): Extract<ClientTls, { kind: 'mutual' }> {
  const { keyPem, certificatePem, rootCertificatePem } = identity;
  return { kind: 'mutual', keyPem, certificatePem, rootCertificatePem, serverName: managerServerName };
}

export function managerAddresses(config: NodeConfig): string[] {
  return config.membership.kind === 'join'
    ? config.membership.remoteAddresses
    : [`${config.address}:${config.clusterPort}`];
}

/**
 * The identity on disk, or a new one: from the manager beside this agent where the node makes the cluster, by join
 * token elsewhere. Tries until it has one, or the signal aborts; what trying again cannot heal rejects.
 */
export async function obtainIdentity(options: IdentityOptions, signal: AbortSignal): Promise<NodeIdentity> {
  const { config, log } = options;
  const present = readNodeIdentity(config.stateDir);
  if (present && present.notAfterMs > options.nowMs()) return present;
  if (present) {
    log('error', 'the certificate of this node has expired; joining again as a new node', {
      node: present.identity.nodeId,
    });
  }
  const { membership } = config;
  // The key goes to disk first: a join whose answer is lost is tried again as the same node.
  const { keyPem, requestPem } = await createCertificateRequest(readPendingKey(config.stateDir));
  writePendingKey(config.stateDir, keyPem);
  const backoff = new Backoff({
    ...(membership.kind === 'init' ? localBackoff : joinBackoff),
    fraction: options.fraction,
  });
  for (let attempt = 0; ; attempt++) {
    signal.throwIfAborted();
    try {
      const issued =
        membership.kind === 'init'
          ? await askOwnManager(config, requestPem)
          : await join(config, membership, requestPem, attempt);
      const identity = writeNodeIdentity(config.stateDir, { keyPem, ...issued });
      log('info', 'certificate issued', { node: identity.identity.nodeId, role: identity.identity.role });
      return identity;
    } catch (error) {
      if (isEnxameError(error) && !mayHeal(error)) throw error;
      log('debug', 'no certificate yet', { reason: describeError(error) });
      await sleep(backoff.next(), undefined, { signal });
    }
  }
}

/** A wrong token stays wrong; a manager that is away or starting comes. */
function mayHeal(error: EnxameError): boolean {
  return !['invalid-argument', 'unauthorized', 'not-implemented', 'data-damaged'].includes(error.code);
}

interface IssuedPems {
  certificatePem: string;
  rootCertificatePem: string;
}

async function askOwnManager(config: NodeConfig, requestPem: string): Promise<IssuedPems> {
  const answer = await postToManager(config.managerSocket, '/_enxame/local-certificate', { requestPem });
  const { certificatePem, rootCertificatePem } = answer as Partial<IssuedPems>;
  if (!certificatePem || !rootCertificatePem) {
    throw new EnxameError('unavailable', 'the manager answered without a certificate');
  }
  return { certificatePem, rootCertificatePem };
}

async function join(
  config: NodeConfig,
  membership: Extract<NodeConfig['membership'], { kind: 'join' }>,
  requestPem: string,
  attempt: number,
): Promise<IssuedPems> {
  const token = parseJoinToken(membership.token);
  const target = membership.remoteAddresses[attempt % membership.remoteAddresses.length];
  if (!target) throw new EnxameError('invalid-argument', 'remoteAddresses: at least one is required to join');
  const { rootCertificatePem } = await callCa(target, { kind: 'unverified' }, (client) =>
    callUnary<ca.RootCertificateRequest, ca.RootCertificateReply>(
      client.getRootCertificate.bind(client),
      {},
      { timeoutMs: callTimeoutMs },
    ),
  );
  verifyRootCertificate(token, rootCertificatePem);
  return callCa(
    target,
    { kind: 'server-only', rootCertificatePem, serverName: managerServerName },
    (client) =>
      callUnary<ca.IssueRequest, ca.IssueReply>(
        client.issueCertificate.bind(client),
        { requestPem, joinToken: membership.token, hostname: config.nodeName, address: config.address },
        { timeoutMs: callTimeoutMs },
      ),
  );
}

async function callCa<Reply>(
  target: string,
  tls: ClientTls,
  call: (client: ca.CertificateAuthorityClient) => Promise<Reply>,
): Promise<Reply> {
  const client = createRpcClient(ca.CertificateAuthorityClient, target, tls);
  try {
    return await call(client);
  } finally {
    client.close();
  }
}

/** Renews the certificate at 50 to 80 % of its life, for as long as the process lives. */
export class IdentityKeeper {
  readonly #options: IdentityOptions;
  readonly #onRenewed: (identity: NodeIdentity) => void;
  readonly #backoff: Backoff;
  #identity: NodeIdentity;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: IdentityOptions, identity: NodeIdentity, onRenewed: (identity: NodeIdentity) => void) {
    this.#options = options;
    this.#identity = identity;
    this.#onRenewed = onRenewed;
    this.#backoff = new Backoff({ ...renewalBackoff, fraction: options.fraction });
  }

  get identity(): NodeIdentity {
    return this.#identity;
  }

  start(): void {
    const dueMs = renewalTimeMs({ ...this.#identity, random: this.#options.fraction() });
    this.#wait(Math.max(dueMs - this.#options.nowMs(), 0));
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #wait(delayMs: number): void {
    const partMs = Math.min(delayMs, timerMsMax);
    this.#timer = setTimeout(() => {
      if (delayMs > partMs) this.#wait(delayMs - partMs);
      else void this.#renew();
    }, partMs);
    this.#timer.unref();
  }

  async #renew(): Promise<void> {
    const { config, log } = this.#options;
    try {
      const { keyPem, requestPem } = await createCertificateRequest();
      const target = managerAddresses(config)[0] ?? '';
      const issued = await callCa(target, mutualTls(this.#identity), (client) =>
        callUnary<ca.IssueRequest, ca.IssueReply>(
          client.issueCertificate.bind(client),
          { requestPem, joinToken: '', hostname: '', address: '' },
          { timeoutMs: callTimeoutMs },
        ),
      );
      const { certificatePem, rootCertificatePem } = issued;
      this.#identity = writeNodeIdentity(config.stateDir, { keyPem, certificatePem, rootCertificatePem });
      this.#backoff.reset();
      this.#onRenewed(this.#identity);
      this.start();
    } catch (error) {
      log('warn', 'renewing the certificate failed; trying again', { error });
      this.#wait(this.#backoff.next());
    }
  }
}
