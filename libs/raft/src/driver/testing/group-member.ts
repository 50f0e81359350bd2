/**
 * A program for tests that kill it: one member of a group over gRPC and real files, with writers that never end. It
 * prints each line once it is acknowledged as `ack LINE`. On any input the writers end; then it prints
 * `ledger JSON`, all that its state machine holds. Its configuration is the first argument, JSON.
 */
import { once } from 'node:events';
import { identityFromSubject } from '#libs/pki';
import { RpcServer } from '#libs/rpc';
import { createGrpcTransport, type PeerCredentials } from '../../transport/grpc-transport.js';
import { createRaftNode } from '../raft-node.js';
import { systemClock } from '../system-clock.js';
import { Ledger } from './ledger.js';

export interface GroupMemberConfig {
  id: string;
  /** Begins every line of this run. */
  word: string;
  dir: string;
  members: string[];
  addresses: Record<string, string>;
  credentials: PeerCredentials;
}

const config = JSON.parse(process.argv[2] ?? '') as GroupMemberConfig;
const { id, addresses, credentials } = config;
const [host = '', port = ''] = (addresses[id] ?? '').split(':');
const ledger = new Ledger();
const transport = createGrpcTransport({
  id,
  address: () => addresses[id] ?? '',
  identify: identityFromSubject,
  holderOf: () => undefined,
  credentials,
  random: Math.random,
});
const node = createRaftNode({
  id,
  origin: { kind: 'bootstrap', members: config.members },
  dir: config.dir,
  stateMachine: ledger,
  transport,
  clock: systemClock,
  random: Math.random,
  limits: { tickMs: 50, snapshotEntries: 500, keptEntries: 50, keptBytes: 0, segmentBytesMax: 32_768 },
});
await new RpcServer({ tls: credentials.tls, services: [transport.service] }).listen({
  host,
  port: Number(port),
});
await node.start();
transport.setPeers(new Map(Object.entries(addresses).filter(([peer]) => peer !== id)));

let isWriting = true;
let next = 0;

async function write(): Promise<void> {
  while (isWriting) {
    const line = `${config.word}-${next++}`;
    try {
      await node.propose(Buffer.from(line));
      process.stdout.write(`ack ${line}\n`);
    } catch {
      // Its outcome is not known: it may be there, once, or not.
    }
  }
}

const writers = Array.from({ length: 4 }, write);
await once(process.stdin, 'data');
isWriting = false;
await Promise.all(writers);
process.stdout.write('idle\n');
// The others have to end, too, before this reads what all of them wrote.
await once(process.stdin, 'data');
await node.readIndex();
process.stdout.write(`ledger ${JSON.stringify(ledger.lines)}\n`);
await once(process.stdin, 'data');
process.exit(0);
