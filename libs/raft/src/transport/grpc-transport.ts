/**
 * The transport over gRPC with mutual TLS. It serves nothing by itself: its `service` is given to the manager's one
 * server. Libraries keep to themselves; this one imports `#libs/rpc`, where protobuf and credentials live.
 */
import type { ClientDuplexStream, ServerDuplexStream } from '@grpc/grpc-js';
import { EnxameError } from '#libs/model';
import {
  type CallerSubject,
  callerOf,
  type ClientTls,
  createRpcClient,
  raft,
  type RpcService,
  toServiceError,
} from '#libs/rpc';
import type { MemberId } from '../core/types.js';
import type { AddressedTransport, OutgoingSnapshot, PeerMessage, TransportReceiver } from '../port.js';
import { checkCertificate, checkHello, checkHolder, type PeerIdentity, protocolVersion } from './hello.js';
import { type LinkHost, type LinkLimits, PeerLink } from './peer-link.js';
import { PeerStream, type StreamLimits } from './peer-stream.js';
import { readSnapshotStream, type SnapshotLimits, writeSnapshotStream } from './snapshot-stream.js';

export interface TransportLimits extends LinkLimits, StreamLimits, SnapshotLimits {
  /** Members that dialed without this one having been told of them. */
  unknownPeersMax: number;
}

export const defaultTransportLimits: TransportLimits = {
  redialMsMin: 50,
  redialMsMax: 2_000,
  politeMs: 300,
  outboxBytesMax: 64 * 1024 * 1024,
  envelopeBytesMax: 1024 * 1024,
  messageBytesMax: 80 * 1024 * 1024,
  helloTimeoutMs: 5_000,
  retireMs: 5_000,
  newsDelayMs: 50,
  askedLatelyMs: 1_000,
  snapshotPieceBytesMax: 512 * 1024,
  chunkBytesMax: 64 * 1024 * 1024,
  snapshotStallMs: 30_000,
  unknownPeersMax: 16,
};

/** What this member shows to others and demands of them. */
export interface PeerCredentials {
  clusterId: string;
  tls: Extract<ClientTls, { kind: 'mutual' }>;
}

export interface GrpcTransportOptions {
  id: MemberId;
  /** Host and port where others reach this member. */
  address: () => string;
  /** Reads a certificate's subject; undefined when it is not a node's. */
  identify: (subject: CallerSubject) => PeerIdentity | undefined;
  /** The node that a member is on; undefined while that is not known here. Members never move between nodes. */
  holderOf: (member: MemberId) => string | undefined;
  /** A sole member needs none; without them nobody is dialed and everybody is refused. */
  credentials?: PeerCredentials;
  /** In [0, 1). */
  random: () => number;
  /** Told of peers that were refused or are away, with the reason, once for each reason. */
  log?: (message: string) => void;
  limits?: Partial<TransportLimits>;
}

export interface GrpcTransport extends AddressedTransport {
  /** To be served, on a server that asks for certificates, at `address`. */
  readonly service: RpcService;
  /** For the first time, or renewed: streams that were opened with older ones are opened anew. */
  setCredentials(credentials: PeerCredentials): void;
  close(): void;
}

export function createGrpcTransport(options: GrpcTransportOptions): GrpcTransport {
  return new Transport(options, { ...defaultTransportLimits, ...options.limits });
}

class Transport implements GrpcTransport {
  readonly service: RpcService;
  private readonly links = new Map<MemberId, PeerLink>();
  private readonly host: LinkHost;
  private readonly incarnation: string;
  private credentials: PeerCredentials | undefined;
  private receiver: TransportReceiver | undefined;
  private told: ReadonlySet<MemberId> = new Set();
  private isClosed = false;

  constructor(
    private readonly options: GrpcTransportOptions,
    private readonly limits: TransportLimits,
  ) {
    this.credentials = options.credentials;
    this.incarnation = Math.floor(options.random() * 2 ** 48).toString(16);
    this.host = {
      self: options.id,
      limits,
      random: options.random,
      nowMs: () => performance.now(),
      dial: (link, address) => this.dial(link, address),
      unreachable: (peer) => this.receiver?.unreachable(peer),
      log: (message) => options.log?.(message),
    };
    this.service = {
      definition: raft.RaftPeerService,
      implementation: {
        connect: (call: ServerDuplexStream<raft.Envelope, raft.Envelope>) => this.accept(call),
        sendSnapshot: (call: ServerDuplexStream<raft.SnapshotPart, raft.SnapshotProgress>) =>
          void this.takeSnapshot(call),
      },
    };
  }

  send(to: MemberId, message: PeerMessage): void {
    this.links.get(to)?.send(message);
  }

  isReachable(peer: MemberId): boolean {
    return this.links.get(peer)?.isStanding ?? false;
  }

  listen(receiver: TransportReceiver): () => void {
    this.receiver = receiver;
    return () => {
      this.receiver = undefined;
    };
  }

  setPeers(addresses: ReadonlyMap<MemberId, string>): void {
    for (const id of this.told) {
      if (addresses.has(id)) continue;
      this.links.get(id)?.close();
      this.links.delete(id);
    }
    this.told = new Set(addresses.keys());
    for (const [id, address] of addresses) {
      if (id !== this.options.id) this.linkOf(id).told(address);
    }
  }

  setCredentials(credentials: PeerCredentials): void {
    this.credentials = credentials;
    for (const link of this.links.values()) link.renew();
  }

  close(): void {
    this.isClosed = true;
    for (const link of this.links.values()) link.close();
    this.links.clear();
  }

  private linkOf(id: MemberId): PeerLink {
    let link = this.links.get(id);
    if (link === undefined) {
      link = new PeerLink(id, this.host);
      this.links.set(id, link);
    }
    return link;
  }

  private hello(to: MemberId): raft.Hello {
    return {
      protocolVersion,
      clusterId: this.credentials?.clusterId ?? '',
      from: this.options.id,
      to,
      address: this.options.address(),
      incarnation: this.incarnation,
    };
  }

  private dial(link: PeerLink, address: string): PeerStream | undefined {
    const { credentials } = this;
    if (credentials === undefined || this.isClosed) return undefined;
    const client = createRpcClient(raft.RaftPeerClient, address, credentials.tls);
    const call = client.connect();
    const stream: PeerStream = new PeerStream({ opener: 'self', stream: call }, this.limits, {
      hello: (hello) => {
        const { clusterId } = credentials;
        const { identify, holderOf } = this.options;
        const shown = call.getAuthContext()?.sslPeerCertificate?.subject as CallerSubject | undefined;
        checkHolder(link.peer, checkCertificate(shown, clusterId, identify), holderOf(link.peer));
        link.established(stream, checkHello(hello, { clusterId, self: this.options.id, from: link.peer }));
      },
      message: (message) => this.receiver?.message(link.peer, message),
      overflowed: () => this.receiver?.unreachable(link.peer),
      ended: (error) => {
        client.close();
        link.ended(stream, error);
      },
    });
    stream.sendHello(this.hello(link.peer));
    return stream;
  }

  private accept(call: ServerDuplexStream<raft.Envelope, raft.Envelope>): void {
    let link: PeerLink | undefined;
    const stream: PeerStream = new PeerStream({ opener: 'peer', stream: call }, this.limits, {
      hello: (hello) => {
        link = this.linkOf(this.admit(call, hello));
        stream.sendHello(this.hello(''));
        link.established(stream, hello);
      },
      message: (message) => link && this.receiver?.message(link.peer, message),
      overflowed: () => link && this.receiver?.unreachable(link.peer),
      ended: (error) => {
        if (link === undefined) this.options.log?.(`raft stream from ${call.getPeer()}: ${error.message}`);
        link?.ended(stream, error);
        if (link !== undefined && !link.isKnown && !link.isStanding) this.forget(link);
      },
    });
    try {
      // Before anything is said: who shows no manager's certificate learns nothing.
      this.checkCaller(call);
    } catch (error) {
      stream.end(error as EnxameError);
    }
  }

  private forget(link: PeerLink): void {
    link.close();
    if (this.links.get(link.peer) === link) this.links.delete(link.peer);
  }

  private checkCaller(call: Pick<ServerDuplexStream<unknown, unknown>, 'getAuthContext'>): PeerIdentity {
    const { credentials, options } = this;
    if (credentials === undefined || this.receiver === undefined || this.isClosed) {
      throw new EnxameError('unavailable', 'raft: this member takes part in no cluster yet');
    }
    return checkCertificate(callerOf(call), credentials.clusterId, options.identify);
  }

  private admit(
    call: Pick<ServerDuplexStream<unknown, unknown>, 'getAuthContext'>,
    hello: raft.Hello | undefined,
  ): MemberId {
    const caller = this.checkCaller(call);
    const { id, holderOf } = this.options;
    const { from } = checkHello(hello, { clusterId: caller.clusterId, self: id, to: id });
    checkHolder(from, caller, holderOf(from));
    if (!this.links.has(from)) {
      const unknown = [...this.links.values()].filter((link) => !link.isKnown).length;
      if (unknown >= this.limits.unknownPeersMax) {
        throw new EnxameError('resource-exhausted', `raft: ${unknown} unknown members are connected already`);
      }
    }
    return from;
  }

  async sendSnapshot(to: MemberId, snapshot: OutgoingSnapshot): Promise<void> {
    const { credentials, limits } = this;
    const address = this.links.get(to)?.address;
    if (credentials === undefined || address === undefined) {
      throw new EnxameError('unavailable', `raft: the address of member ${to} is not known`);
    }
    const client = createRpcClient(raft.RaftPeerClient, address, credentials.tls);
    try {
      const stream: ClientDuplexStream<raft.SnapshotPart, raft.SnapshotProgress> = client.sendSnapshot();
      await writeSnapshotStream(stream, { hello: this.hello(to), snapshot, limits });
    } finally {
      client.close();
    }
  }

  private async takeSnapshot(
    call: ServerDuplexStream<raft.SnapshotPart, raft.SnapshotProgress>,
  ): Promise<void> {
    // Whoever hangs up is noticed by the reader; without a listener it would end the process.
    call.on('error', () => undefined);
    try {
      this.checkCaller(call);
      const intake = this.receiver?.snapshots;
      if (intake === undefined) throw new EnxameError('unavailable', 'raft: this member is not running');
      await readSnapshotStream(call, {
        admit: (hello) => this.admit(call, hello),
        intake,
        limits: this.limits,
      });
      call.end();
    } catch (error) {
      call.emit('error', toServiceError(error));
    }
  }
}
