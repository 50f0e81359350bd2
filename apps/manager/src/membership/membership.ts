/**
 * Who belongs to the cluster: makes a new cluster, lets nodes in by join token, and signs their certificates. The
 * key of the root is in the store, so every manager can do it; each looks at the newest state first.
 */
import {
  EnxameError,
  isEnxameError,
  nanosecondsPerMillisecond,
  objectIdFromBytes,
  type Cluster,
  type ClusterId,
  type ClusterStore,
  type Node,
  type NodeConfig,
  type NodeId,
} from '#libs/model';
import {
  checkCertificateRequest,
  createRootCa,
  issueNodeCertificate,
  makeJoinToken,
  parseJoinToken,
  roleOfToken,
  signingCa,
  type CertifiedIdentity,
  type CheckedRequest,
  type NodeIdentity,
} from '#libs/pki';
import type { ServerTls } from '#libs/rpc';
import { isIPv4 } from 'node:net';
import { bootstrapChanges, newNode, nextNodeIndex, nodeIndexMax, type NewNodeFacts } from './bootstrap.js';
import { OwnCertificate } from './own-certificate.js';
import { roleOf } from './role.js';
import type { Clock, Log, Random } from './ports.js';

export interface MembershipOptions {
  store: ClusterStore;
  config: NodeConfig;
  /** This manager's id in the Raft group: how it finds its own node in the store. */
  raftId: string;
  /** What the agent beside this manager has on disk; absent where the node makes its cluster just now. */
  nodeIdentity?: NodeIdentity;
  /** Resolves when the store shows every write acknowledged before. */
  current(): Promise<unknown>;
  clock: Clock;
  random: Random;
  log: Log;
  /** How often it is looked whether this manager's certificate is to be renewed. */
  renewalLookIntervalMs?: number;
}

export interface IssuedCertificate {
  nodeId: NodeId;
  clusterId: ClusterId;
  certificatePem: string;
  rootCertificatePem: string;
}

const admissionAttemptsMax = 8;
const hostnameLengthMax = 253;

export class Membership {
  readonly #options: MembershipOptions;
  readonly #own: OwnCertificate;
  #identity: CertifiedIdentity | undefined;
  /** Joins take the next free index, so one at a time here. */
  #joining: Promise<unknown> = Promise.resolve();

  constructor(options: MembershipOptions) {
    this.#options = options;
    const { nodeIdentity } = options;
    if (nodeIdentity !== undefined) this.#identity = { ...nodeIdentity.identity, role: 'manager' };
    this.#own = new OwnCertificate({
      ...options,
      nodeId: () => this.#identity?.nodeId,
      issue: (requestPem) => this.issueLocal(requestPem),
    });
  }

  /** Keeps this manager's certificate what the cluster wants, and fresh. */
  start(): void {
    this.#own.start();
  }

  /** Called where this manager leads, before anything is served: the first leader of all makes the cluster. */
  async lead(): Promise<void> {
    if (!this.#options.store.view().cluster) await this.#bootstrap();
    const { cluster } = this.#options.store.view();
    if (!cluster) throw new EnxameError('failed-precondition', 'the store holds no cluster');
    this.#identity = { nodeId: this.#ownNode().id, clusterId: cluster.id, role: 'manager' };
    await this.#own.ensure();
  }

  /**
   * Where nothing opens what is on disk: this manager's own log names its node and holds the key to sign for it.
   * `failed-precondition` where it does not, yet.
   */
  async certify(): Promise<void> {
    const { id } = this.#cluster();
    this.#identity = { nodeId: this.#ownNode().id, clusterId: id, role: 'manager' };
    await this.#own.ensure();
  }

  get isCertified(): boolean {
    return this.#own.isThere;
  }

  #ownNode(): Readonly<Node> {
    const { store, raftId } = this.#options;
    const own = [...store.view().nodes.all()].find(({ manager }) => manager?.raftId === raftId);
    if (own) return own;
    throw new EnxameError('failed-precondition', `no node of the cluster has Raft id ${raftId}`);
  }

  stop(): void {
    this.#own.stop();
  }

  /** This manager's node and cluster. */
  identity(): CertifiedIdentity {
    if (!this.#identity) throw new EnxameError('unavailable', 'the manager is starting');
    return this.#identity;
  }

  /** What this manager shows to other nodes, as a server and as a client of their engine ports. */
  tls(): ServerTls {
    return this.#own.tls();
  }

  /** Calls back when `tls()` has changed. */
  onCredentials(listener: (tls: ServerTls) => void): () => void {
    return this.#own.onCredentials(listener);
  }

  /** What every node trusts. A store that is behind may know another one. */
  async currentRoot(): Promise<string> {
    await this.#options.current();
    return this.rootCertificatePem();
  }

  rootCertificatePem(): string {
    return this.#cluster().rootCa.certificatePem;
  }

  /** A certificate for the agent beside this manager. The caller has come through the private socket: that is the proof. */
  async issueLocal(requestPem: string): Promise<IssuedCertificate> {
    return this.#issue(await checkCertificateRequest(requestPem), this.identity().nodeId, 'manager');
  }

  /** A new certificate for a node that showed its present one. */
  async renew(caller: CertifiedIdentity, requestPem: string): Promise<IssuedCertificate> {
    await this.#options.current();
    const node = this.admit(caller);
    return this.#issue(await checkCertificateRequest(requestPem), node.id, roleOf(node));
  }

  /** Lets a node in by its token. The same key is the same node: a join whose answer was lost can be tried again. */
  async join(options: {
    requestPem: string;
    token: string;
    hostname: string;
    address: string;
    /** Empty: active. */
    availability: string;
  }): Promise<IssuedCertificate> {
    parseJoinToken(options.token);
    await this.#options.current();
    const role = roleOfToken(options.token, this.#cluster().joinTokens);
    if (!role) throw new EnxameError('unauthorized', 'A valid join token is necessary to join this cluster');
    if (options.hostname.length === 0 || options.hostname.length > hostnameLengthMax) {
      throw new EnxameError('invalid-argument', `hostname: must have 1 to ${hostnameLengthMax} characters`);
    }
    if (!isIPv4(options.address))
      throw new EnxameError('invalid-argument', 'address: must be an IPv4 address');
    const availability = options.availability || 'active';
    if (!isAvailability(availability)) {
      throw new EnxameError('invalid-argument', 'availability: must be active, pause or drain');
    }
    const request = await checkCertificateRequest(options.requestPem);
    const nodeId = objectIdFromBytes<NodeId>(request.fingerprint);
    const { hostname, address } = options;
    const turn = this.#joining.then(() =>
      this.#admitNew({ id: nodeId, role, hostname, address, availability }),
    );
    this.#joining = turn.catch(() => undefined);
    await turn;
    return this.#issue(request, nodeId, role);
  }

  /** Checks that a certified caller belongs to this cluster now. */
  admit(caller: CertifiedIdentity): Readonly<Node> {
    const view = this.#options.store.view();
    const node = caller.clusterId === view.cluster?.id ? view.nodes.get(caller.nodeId) : undefined;
    if (!node) throw new EnxameError('forbidden', `node ${caller.nodeId} is not part of this cluster`);
    return node;
  }

  async #bootstrap(): Promise<void> {
    const { config, clock, random, store, log } = this.#options;
    if (config.membership.kind !== 'init') {
      throw new EnxameError('failed-precondition', 'this node was not told to make a cluster');
    }
    const rootCa = await createRootCa({ nowMs: clock.nowMs() });
    const nodeId = objectIdFromBytes<NodeId>(random.bytes(16));
    await store.propose(
      bootstrapChanges(config, {
        clusterId: objectIdFromBytes(random.bytes(16)),
        nodeId,
        ingressNetworkId: objectIdFromBytes(random.bytes(16)),
        raftId: this.#options.raftId,
        rootCa,
        joinTokens: {
          worker: makeJoinToken(rootCa.certificatePem, random.bytes(16)),
          manager: makeJoinToken(rootCa.certificatePem, random.bytes(16)),
        },
      }),
    );
    log('info', 'cluster made', { cluster: store.view().cluster?.id, node: nodeId });
  }

  /** Another manager may let a node in at the same moment: then the next free index is another one. */
  async #admitNew(facts: Omit<NewNodeFacts, 'index'>): Promise<void> {
    const { store, log } = this.#options;
    for (let attempt = 1; ; attempt++) {
      const view = store.view();
      if (view.nodes.get(facts.id)) return;
      const index = nextNodeIndex(view);
      if (index === undefined) {
        throw new EnxameError(
          'resource-exhausted',
          `the cluster has ${nodeIndexMax} nodes, the most it can have`,
        );
      }
      try {
        await store.propose([{ op: 'put', table: 'nodes', object: newNode({ ...facts, index }) }]);
        log('info', 'node joined', { node: facts.id, hostname: facts.hostname, role: facts.role });
        return;
      } catch (error) {
        const taken = isEnxameError(error) && error.code === 'conflict';
        if (!taken || attempt === admissionAttemptsMax) throw error;
      }
    }
  }

  async #issue(
    request: CheckedRequest,
    nodeId: NodeId,
    role: 'manager' | 'worker',
  ): Promise<IssuedCertificate> {
    const cluster = this.#cluster();
    const expiry = cluster.spec.CAConfig?.NodeCertExpiry;
    const certificatePem = await issueNodeCertificate({
      ca: signingCa(cluster),
      request,
      identity: { nodeId, clusterId: cluster.id, role },
      nowMs: this.#options.clock.nowMs(),
      ...(expiry ? { lifeMs: expiry / nanosecondsPerMillisecond } : {}),
    });
    return {
      nodeId,
      clusterId: cluster.id,
      certificatePem,
      rootCertificatePem: cluster.rootCa.certificatePem,
    };
  }

  #cluster(): Readonly<Cluster> {
    const { cluster } = this.#options.store.view();
    if (!cluster) throw new EnxameError('unavailable', 'the cluster is not known yet');
    return cluster;
  }
}

function isAvailability(value: string): value is 'active' | 'pause' | 'drain' {
  return value === 'active' || value === 'pause' || value === 'drain';
}
