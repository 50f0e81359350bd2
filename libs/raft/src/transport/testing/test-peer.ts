/** A transport on a real server on loopback, and what came out of it. */
import { identityFromSubject } from '#libs/pki';
import { RpcServer } from '#libs/rpc';
import type { OutgoingSnapshot, PeerMessage, SnapshotIntake } from '../../port.js';
import {
  createGrpcTransport,
  type GrpcTransport,
  type PeerCredentials,
  type TransportLimits,
} from '../grpc-transport.js';

export interface TestPeerOptions {
  id: string;
  credentials: PeerCredentials;
  limits?: Partial<TransportLimits>;
  /** The node of each member, as far as this one knows. */
  holders?: Record<string, string>;
  snapshots?: SnapshotIntake;
  /** Where others reach it, when not directly. */
  through?: (port: number) => Promise<number>;
}

export class TestPeer {
  readonly received: { from: string; message: PeerMessage }[] = [];
  readonly unreachable: string[] = [];
  readonly logged: string[] = [];

  readonly id: string;
  readonly transport: GrpcTransport;
  address = '';
  private readonly server: RpcServer;

  private constructor(options: TestPeerOptions) {
    const log = (message: string): void => void this.logged.push(message);
    this.id = options.id;
    this.transport = createGrpcTransport({
      id: options.id,
      address: () => this.address,
      identify: identityFromSubject,
      holderOf: (member) => options.holders?.[member],
      credentials: options.credentials,
      random: Math.random,
      log,
      limits: { redialMsMin: 20, redialMsMax: 100, politeMs: 50, ...options.limits },
    });
    this.server = new RpcServer({ tls: options.credentials.tls, services: [this.transport.service], log });
    this.transport.listen({
      message: (from, message) => this.received.push({ from, message }),
      unreachable: (peer) => this.unreachable.push(peer),
      snapshots: options.snapshots ?? refusingIntake,
    });
  }

  static async start(options: TestPeerOptions): Promise<TestPeer> {
    const peer = new TestPeer(options);
    const port = await peer.server.listen({ host: '127.0.0.1', port: 0 });
    peer.address = `127.0.0.1:${(await options.through?.(port)) ?? port}`;
    return peer;
  }

  /** Tells both of each other. */
  static introduce(...peers: TestPeer[]): void {
    for (const peer of peers) {
      const others = peers.filter((other) => other !== peer);
      peer.transport.setPeers(new Map(others.map((other) => [other.id, other.address])));
    }
  }

  async stop(): Promise<void> {
    this.transport.close();
    await this.server.close();
  }
}

const refusingIntake: SnapshotIntake = {
  begin: () => Promise.reject(new Error('no snapshot was expected')),
  chunk: () => Promise.reject(new Error('no snapshot was expected')),
  end: () => Promise.reject(new Error('no snapshot was expected')),
};

export function memorySnapshot(chunks: readonly Uint8Array[], id = 'one'): OutgoingSnapshot {
  return {
    message: {
      kind: 'snapshot',
      term: 3,
      snapshot: {
        index: 40,
        term: 2,
        membership: { voters: ['a', 'b'], outgoing: [], learners: [], learnersNext: [], autoLeave: false },
      },
    },
    id,
    read: async (number) => chunks[number],
  };
}
