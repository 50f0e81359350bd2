/**
 * The certificate of this manager's process, which is another one than the agent's: renewed in time, and at once when
 * the cluster wants another issuer or trusts another root. What it holds is written to its node, for all to see.
 */
import { EnxameError, type ClusterStore, type HeldTls, type NodeId } from '#libs/model';
import {
  createCertificateRequest,
  hasIssuer,
  heldTls,
  RenewalTimer,
  verifyNodeCertificate,
  wantedTls,
  type NodeIdentity,
} from '#libs/pki';
import type { ServerTls } from '#libs/rpc';
import { isDeepStrictEqual } from 'node:util';
import type { Clock, Log, Random } from './ports.js';

export interface OwnCertificateOptions {
  store: ClusterStore;
  raftId: string;
  /** What the agent beside this manager has on disk; absent where the node makes its cluster just now. */
  nodeIdentity?: NodeIdentity;
  /** Undefined before the cluster is made. */
  nodeId(): NodeId | undefined;
  /** Signs, with the key in the store. */
  issue(requestPem: string): Promise<{ certificatePem: string; rootCertificatePem: string }>;
  /** Resolves when the store shows every write acknowledged before. */
  current(): Promise<unknown>;
  clock: Clock;
  random: Random;
  log: Log;
  /** How often it is looked whether a renewal is due. */
  renewalLookIntervalMs?: number;
}

const retryMs = 1_000;

export class OwnCertificate {
  readonly #options: OwnCertificateOptions;
  readonly #renewal: RenewalTimer;
  readonly #listeners = new Set<(tls: ServerTls) => void>();
  #tls: ServerTls | undefined;
  #validity = { notBeforeMs: 0, notAfterMs: 0 };
  #retry: NodeJS.Timeout | undefined;
  #unwatch: (() => void) | undefined;
  /** One look at a time, and one more when something has changed meanwhile. */
  #isLooking = false;
  #lookAgain = false;

  constructor(options: OwnCertificateOptions) {
    this.#options = options;
    const { nodeIdentity, clock, random, renewalLookIntervalMs: lookIntervalMs } = options;
    this.#renewal = new RenewalTimer({
      nowMs: () => clock.nowMs(),
      fraction: () => random.fraction(),
      renew: () => this.#renewInTime(),
      ...(lookIntervalMs === undefined ? {} : { lookIntervalMs }),
    });
    if (nodeIdentity === undefined) return;
    const { keyPem, certificatePem, rootCertificatePem } = nodeIdentity;
    this.#tls = { keyPem, certificatePem, rootCertificatePem };
    this.#validity = nodeIdentity;
  }

  start(): void {
    const { nodeIdentity, store, nodeId } = this.#options;
    if (nodeIdentity !== undefined) this.#renewal.follow(nodeIdentity);
    this.#unwatch = store.watch(({ changes }) => {
      const concerns = changes.some(
        ({ table, id }) => table === 'clusters' || (table === 'nodes' && id === nodeId()),
      );
      if (concerns) this.look();
    });
    this.look();
  }

  stop(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
    this.#renewal.stop();
    clearTimeout(this.#retry);
  }

  get isThere(): boolean {
    return this.#tls !== undefined;
  }

  tls(): ServerTls {
    if (!this.#tls) throw new EnxameError('unavailable', 'the manager is starting');
    return this.#tls;
  }

  onCredentials(listener: (tls: ServerTls) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A leader has one that counts, whatever was on its disk: it signs it itself. */
  async ensure(): Promise<void> {
    if (this.#tls === undefined || this.#validity.notAfterMs <= this.#options.clock.nowMs())
      await this.#renew();
    this.look();
  }

  /** Looks whether it is still what the cluster wants. */
  look(): void {
    if (this.#unwatch === undefined) return;
    this.#lookAgain = true;
    if (this.#isLooking) return;
    this.#isLooking = true;
    void this.#lookUntilRight().finally(() => {
      this.#isLooking = false;
      if (this.#lookAgain) this.look();
    });
  }

  async #lookUntilRight(): Promise<void> {
    while (this.#lookAgain && this.#unwatch !== undefined) {
      this.#lookAgain = false;
      try {
        await this.#bringUpToDate();
      } catch (error) {
        this.#options.log('debug', 'the certificate of this manager cannot be looked after now', { error });
        clearTimeout(this.#retry);
        if (this.#unwatch !== undefined) this.#retry = setTimeout(() => this.look(), retryMs);
        return;
      }
    }
  }

  async #bringUpToDate(): Promise<void> {
    const { store, current } = this.#options;
    if (this.#tls === undefined || store.view().cluster === undefined) return;
    // A manager that reads its log passes through what was wanted long ago: following that, nobody would know it.
    await current();
    const { cluster } = store.view();
    if (cluster === undefined) return;
    const wanted = wantedTls(cluster);
    if (!hasIssuer(heldTls(this.#tls), wanted)) await this.#renew();
    else if (this.#tls.rootCertificatePem !== wanted.trustRootPem) {
      this.#take({ ...this.#tls, rootCertificatePem: wanted.trustRootPem });
    }
    await this.#tell(heldTls(this.#tls));
  }

  async #tell(held: HeldTls): Promise<void> {
    const { store, nodeId, raftId } = this.#options;
    const id = nodeId();
    const node = id === undefined ? undefined : store.view().nodes.get(id);
    // Before it is taken in there is nothing to write on, and nobody asks.
    if (id === undefined || node?.manager?.raftId !== raftId || isDeepStrictEqual(node.managerTls, held))
      return;
    await store.propose([{ op: 'patch', table: 'nodes', id, fields: { managerTls: held } }]);
  }

  /** What the agent has on disk is for the next start; this one is in memory alone. */
  async #renew(): Promise<void> {
    const { clock, issue } = this.#options;
    const { keyPem, requestPem } = await createCertificateRequest();
    const { certificatePem, rootCertificatePem } = await issue(requestPem);
    const tls = { keyPem, certificatePem, rootCertificatePem };
    const facts = verifyNodeCertificate({ ...tls, nowMs: clock.nowMs() });
    this.#validity = facts;
    this.#take(tls);
    this.#renewal.follow(facts);
  }

  #renewInTime(): void {
    this.#renew().catch((error: unknown) => {
      this.#options.log('error', 'renewing the manager certificate failed; trying again', { error });
      this.#renewal.follow(this.#validity);
    });
  }

  #take(tls: ServerTls): void {
    this.#tls = tls;
    for (const listener of this.#listeners) listener(tls);
  }
}
