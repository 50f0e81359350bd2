/** How the node comes by its certificate, once, and by the next one before it ends. */
import {
  describeError,
  EnxameError,
  isEnxameError,
  localCertificate,
  localUnlockKey,
  type HeldTls,
  type NodeConfig,
} from '#libs/model';
import {
  createCertificateRequest,
  hasIssuer,
  heldTls,
  managerServerName,
  parseJoinToken,
  readPendingKey,
  readStoredIdentity,
  RenewalTimer,
  verifyRootCertificate,
  writeNodeIdentity,
  writePendingKey,
  type NodeIdentity,
  type StoredIdentity,
} from '#libs/pki';
import { ca, callUnary, createRpcClient, type ClientTls } from '#libs/rpc';
import { setTimeout as sleep } from 'node:timers/promises';
import { Backoff } from '../session/backoff.js';
import type { Log } from '#libs/log';
import { callManager } from './manager-socket.js';

export interface IdentityOptions {
  config: NodeConfig;
  /** host:port of the managers that may be asked, as far as they are known now. */
  managers(): readonly string[];
  /** How long a first join may go without reaching any manager; absent: for ever. */
  joinWaitMsMax?: number;
  nowMs(): number;
  fraction(): number;
  log: Log;
  /** How often it is looked whether the certificate is to be renewed. */
  renewalLookIntervalMs?: number;
}

export const notInSwarm = 'This node is not part of a swarm';

const callTimeoutMs = 10_000;
const joinBackoff = { firstMs: 100, maxMs: 5_000 };
const localBackoff = { firstMs: 50, maxMs: 1_000 };
const renewalBackoff = { firstMs: 500, maxMs: 3_600_000 };

/** The certificates a process needs to reach a manager as this node. */
export function mutualTls(identity: NodeIdentity): Extract<ClientTls, { kind: 'mutual' }> {
  const { keyPem, certificatePem, rootCertificatePem } = identity;
  return { kind: 'mutual', keyPem, certificatePem, rootCertificatePem, serverName: managerServerName };
}

/** With what its key is sealed on disk. */
export interface ObtainedIdentity extends NodeIdentity {
  unlockKey?: string;
}

/**
 * The identity on disk, or a new one: from the manager beside this agent where the node makes the cluster, by join
 * token elsewhere. Tries until it has one, or the signal aborts; what trying again cannot heal rejects.
 */
export async function obtainIdentity(
  options: IdentityOptions,
  signal: AbortSignal,
): Promise<ObtainedIdentity> {
  const { config, log } = options;
  const stored = readStoredIdentity(config.stateDir);
  const present = stored?.kind === 'sealed' ? await unsealed(options, stored, signal) : stored?.identity;
  if (present && present.notAfterMs > options.nowMs()) return present;
  if (present) {
    log('error', 'the certificate of this node has expired; joining again as a new node', {
      node: present.identity.nodeId,
    });
  }
  const { membership } = config;
  if (membership.kind === 'none') throw new EnxameError('failed-precondition', notInSwarm);
  // The key goes to disk first: a join whose answer is lost is tried again as the same node.
  const { keyPem, requestPem } = await createCertificateRequest(readPendingKey(config.stateDir));
  writePendingKey(config.stateDir, keyPem);
  const backoff = new Backoff({
    ...(membership.kind === 'init' ? localBackoff : joinBackoff),
    fraction: options.fraction,
  });
  const giveUpAtMs = options.nowMs() + (options.joinWaitMsMax ?? Number.POSITIVE_INFINITY);
  for (let attempt = 0; ; attempt++) {
    signal.throwIfAborted();
    try {
      const issued =
        membership.kind === 'init'
          ? await askOwnManager(config, requestPem)
          : await join(options, membership, { requestPem, attempt });
      const identity = writeNodeIdentity(config.stateDir, { keyPem, ...issued });
      log('info', 'certificate issued', { node: identity.identity.nodeId, role: identity.identity.role });
      return identity;
    } catch (error) {
      if (isEnxameError(error) && !mayHeal(error)) throw present ? expiredFor(present, error) : error;
      if (options.nowMs() >= giveUpAtMs) throw error;
      log('debug', 'no certificate yet', { reason: describeError(error) });
      await sleep(backoff.next(), undefined, { signal });
    }
  }
}

/**
 * The manager beside this agent has been unlocked, once it answers, and knows the key. Where the key was changed just
 * before both went down, the file may be sealed with the one of before: then the manager signs another certificate.
 */
async function unsealed(
  { config, fraction, log }: IdentityOptions,
  stored: Extract<StoredIdentity, { kind: 'sealed' }>,
  signal: AbortSignal,
): Promise<ObtainedIdentity> {
  const backoff = new Backoff({ ...localBackoff, fraction });
  for (;;) {
    signal.throwIfAborted();
    try {
      const unlockKey = await askUnlockKey(config);
      const identity = unlockKey === undefined ? undefined : openWith(stored, unlockKey);
      if (identity !== undefined) return { ...identity, ...(unlockKey === undefined ? {} : { unlockKey }) };
      const { keyPem, requestPem } = await createCertificateRequest();
      const issued = await askOwnManager(config, requestPem);
      const written = writeNodeIdentity(config.stateDir, { keyPem, ...issued }, unlockKey);
      return { ...written, ...(unlockKey === undefined ? {} : { unlockKey }) };
    } catch (error) {
      log('debug', 'the key of this node is sealed, and its manager does not answer', {
        reason: describeError(error),
      });
      await sleep(backoff.next(), undefined, { signal });
    }
  }
}

function openWith(
  stored: Extract<StoredIdentity, { kind: 'sealed' }>,
  unlockKey: string,
): NodeIdentity | undefined {
  try {
    return stored.open(unlockKey);
  } catch (error) {
    if (isEnxameError(error) && error.code === 'unauthorized') return undefined;
    throw error;
  }
}

/** Undefined while managers do not lock themselves. */
async function askUnlockKey({ managerSocket }: NodeConfig): Promise<string | undefined> {
  const { status, body } = await callManager(managerSocket, {
    method: 'GET',
    path: localUnlockKey,
    waitMs: callTimeoutMs,
  });
  const { unlockKey } = (body ?? {}) as { unlockKey?: string };
  if (status >= 300 || unlockKey === undefined) {
    throw new EnxameError('unavailable', `the manager answered ${status} without its unlock key`);
  }
  return unlockKey || undefined;
}

/** The token of long ago may have been rotated since: the user has a newer one. */
function expiredFor({ notAfterMs }: NodeIdentity, cause: EnxameError): EnxameError {
  const at = new Date(notAfterMs).toISOString();
  return new EnxameError(
    cause.code,
    `the certificate of this node expired at ${at}, and its cluster does not take it back by the token it once ` +
      `joined with (${cause.message}). Run "docker swarm leave" here and join again with a fresh token`,
    { cause },
  );
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
  const { status, body } = await callManager(config.managerSocket, {
    method: 'POST',
    path: localCertificate,
    body: { requestPem },
    waitMs: callTimeoutMs,
  });
  const { certificatePem, rootCertificatePem } = (body ?? {}) as Partial<IssuedPems>;
  if (status >= 300 || !certificatePem || !rootCertificatePem) {
    throw new EnxameError('unavailable', `the manager answered ${status} without a certificate`);
  }
  return { certificatePem, rootCertificatePem };
}

async function join(
  options: IdentityOptions,
  membership: Extract<NodeConfig['membership'], { kind: 'join' }>,
  { requestPem, attempt }: { requestPem: string; attempt: number },
): Promise<IssuedPems> {
  const { token: joinToken, availability = '' } = membership;
  const { nodeName: hostname, address } = options.config;
  const token = parseJoinToken(joinToken);
  const target = managerInTurn(options, attempt);
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
        { requestPem, joinToken, hostname, address, availability },
        { timeoutMs: callTimeoutMs },
      ),
  );
}

function managerInTurn({ managers }: IdentityOptions, attempt: number): string {
  const known = managers();
  const target = known[attempt % known.length];
  if (target === undefined) throw new EnxameError('unavailable', 'no manager is known');
  return target;
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

/** Renews the certificate at 50 to 80 % of its life, and when asked, for as long as the process lives. */
export class IdentityKeeper {
  readonly #options: IdentityOptions;
  readonly #onRenewed: (identity: NodeIdentity) => void;
  readonly #backoff: Backoff;
  readonly #renewal: RenewalTimer;
  #identity: NodeIdentity;
  #retry: NodeJS.Timeout | undefined;
  #renewing: Promise<void> | undefined;
  #attempts = 0;
  /** As the leader told last. */
  #wanted: HeldTls | undefined;
  /** What the key is sealed with on disk. */
  #unlockKey: string | undefined;
  #stopped = false;

  constructor(
    options: IdentityOptions,
    obtained: ObtainedIdentity,
    onRenewed: (identity: NodeIdentity) => void,
  ) {
    this.#options = options;
    const { unlockKey, ...identity } = obtained;
    this.#identity = identity;
    this.#unlockKey = unlockKey;
    this.#onRenewed = onRenewed;
    this.#backoff = new Backoff({ ...renewalBackoff, fraction: options.fraction });
    const { renewalLookIntervalMs: lookIntervalMs } = options;
    this.#renewal = new RenewalTimer({
      nowMs: () => options.nowMs(),
      fraction: () => options.fraction(),
      renew: () => void this.renewNow(),
      ...(lookIntervalMs === undefined ? {} : { lookIntervalMs }),
    });
  }

  get identity(): NodeIdentity {
    return this.#identity;
  }

  start(): void {
    this.#renewal.follow(this.#identity);
    this.#renewal.look();
  }

  stop(): void {
    this.#stopped = true;
    this.#renewal.stop();
    clearTimeout(this.#retry);
  }

  /** Does not wait for the time to come: what the certificate says has changed. Never rejects. */
  renewNow(): Promise<void> {
    clearTimeout(this.#retry);
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  /** The cluster's root is being replaced: first comes another certificate, and when all have theirs another trust. */
  follow(wanted: HeldTls): void {
    this.#wanted = wanted;
    if (this.#renewing !== undefined) return;
    if (hasIssuer(heldTls(this.#identity), wanted)) {
      this.#trust(wanted.trustRootPem);
      return;
    }
    this.#options.log(
      'info',
      "the cluster's root is being replaced; asking for a certificate of the new one",
    );
    void this.renewNow();
  }

  /** With what the key is to be sealed on disk; a key that has lain there open is not kept. */
  seal(unlockKey: string | undefined): void {
    if (unlockKey === this.#unlockKey) return;
    const layOpen = this.#unlockKey === undefined;
    this.#unlockKey = unlockKey;
    const { config, log } = this.#options;
    try {
      writeNodeIdentity(config.stateDir, this.#identity, unlockKey);
      if (layOpen) void this.renewNow();
    } catch (error) {
      log('warn', "this node's key cannot be written as the cluster wants it; trying again", { error });
      this.#tryAgain();
    }
  }

  #trust(rootCertificatePem: string): void {
    const { log } = this.#options;
    const { keyPem, certificatePem } = this.#identity;
    if (this.#identity.rootCertificatePem === rootCertificatePem) return;
    try {
      this.#keep({ keyPem, certificatePem, rootCertificatePem });
      log('info', "the cluster's root was replaced; the old one is not trusted any more");
      this.#onRenewed(this.#identity);
    } catch (error) {
      log('warn', 'the new root of the cluster cannot be kept; trying again', { error });
      this.#tryAgain();
    }
  }

  #tryAgain(): void {
    if (this.#stopped) return;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => void this.renewNow(), this.#backoff.next()).unref();
  }

  /** What was wanted may have changed while the certificate was on its way. */
  #isAsWanted(): boolean {
    const held = heldTls(this.#identity);
    const wanted = this.#wanted;
    return wanted === undefined || (hasIssuer(held, wanted) && held.trustRootPem === wanted.trustRootPem);
  }

  #keep(pems: { keyPem: string; certificatePem: string; rootCertificatePem: string }): void {
    this.#identity = writeNodeIdentity(this.#options.config.stateDir, pems, this.#unlockKey);
  }

  async #renew(): Promise<void> {
    const { log } = this.#options;
    try {
      const { keyPem, requestPem } = await createCertificateRequest();
      const target = managerInTurn(this.#options, this.#attempts++);
      const issued = await callCa(target, mutualTls(this.#identity), (client) =>
        callUnary<ca.IssueRequest, ca.IssueReply>(
          client.issueCertificate.bind(client),
          { requestPem, joinToken: '', hostname: '', address: '', availability: '' },
          { timeoutMs: callTimeoutMs },
        ),
      );
      const { certificatePem, rootCertificatePem } = issued;
      if (this.#stopped) return;
      this.#keep({ keyPem, certificatePem, rootCertificatePem });
      this.#onRenewed(this.#identity);
      if (this.#isAsWanted()) {
        this.#backoff.reset();
        this.start();
      } else this.#tryAgain();
    } catch (error) {
      log('warn', 'renewing the certificate failed; trying again', { error });
      this.#tryAgain();
    }
  }
}
