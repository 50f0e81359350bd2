/**
 * One member as a process: a Raft node over mutual TLS with a small gRPC front for puts and linearizable reads.
 * Its configuration is the first argument, JSON. Each line on its input is a question, answered by a line of JSON.
 */
import { once } from 'node:events';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { identityFromSubject } from '#libs/pki';
import {
  createGrpcTransport,
  createRaftNode,
  type Origin,
  type PeerCredentials,
  type RaftLimits,
  systemClock,
} from '#libs/raft';
import { RpcServer } from '#libs/rpc';
import { KeyValueMachine } from './key-value-machine.js';
import { decodePut, decodeRange, encodeFound, paths } from './kv.js';
import { serveStream } from './stream.js';
import { createKvServer } from './wire.js';

export interface MemberConfig {
  id: string;
  origin: Origin;
  dir: string;
  peerPort: number;
  frontPort: number;
  peers: Record<string, string>;
  credentials: PeerCredentials;
  limits: Partial<RaftLimits>;
  /** Entries to write before it is ready. */
  fillEntries?: number;
}

export interface MemberReport {
  leads: boolean;
  leader?: string;
  applied: number;
  loopDelayP99Ms: number;
  cpuMs: number;
}

const config = JSON.parse(process.argv[2] ?? '') as MemberConfig;
const host = '127.0.0.1';
const machine = new KeyValueMachine();
const transport = createGrpcTransport({
  id: config.id,
  address: () => `${host}:${config.peerPort}`,
  identify: identityFromSubject,
  holderOf: () => undefined,
  credentials: config.credentials,
  random: Math.random,
});
const node = createRaftNode({
  id: config.id,
  origin: config.origin,
  dir: config.dir,
  stateMachine: machine,
  transport,
  clock: systemClock,
  random: Math.random,
  limits: config.limits,
  onFailure: (error) => {
    console.error(error);
    process.exit(1);
  },
});

const empty = new Uint8Array(0);

async function put(request: Buffer): Promise<Uint8Array> {
  await node.propose(machine.encode(decodePut(request)));
  return empty;
}

async function range(request: Buffer): Promise<Uint8Array> {
  await node.readIndex();
  return encodeFound(machine.find(decodeRange(request)));
}

const front = createKvServer(
  { [paths.put]: put, [paths.range]: range, [paths.echo]: async () => empty },
  {
    [paths.puts]: (stream) => serveStream(stream, put),
    [paths.ranges]: (stream) => serveStream(stream, range),
  },
);

/** The histogram holds the time from one look to the next, so this much of it is no delay. */
const lookEveryMs = 10;
const loopDelay = monitorEventLoopDelay({ resolution: lookEveryMs });

function report(): MemberReport {
  const { role, leader, applied } = node.status();
  const { user, system } = process.cpuUsage();
  return {
    leads: role === 'leader',
    ...(leader === undefined ? {} : { leader }),
    applied,
    loopDelayP99Ms: Math.max(0, loopDelay.percentile(99) / 1e6 - lookEveryMs),
    cpuMs: (user + system) / 1000,
  };
}

async function fill(entries: number): Promise<void> {
  const value = Buffer.alloc(256, 'f');
  const batch = 4_000;
  for (let written = 0; written < entries; written += batch) {
    const keys = Array.from({ length: Math.min(batch, entries - written) }, (_, i) =>
      Buffer.from(`key-${(written + i) % 10_000}`),
    );
    await Promise.all(keys.map((key) => node.propose(machine.encode({ key, value }))));
  }
}

const rpc = new RpcServer({ tls: config.credentials.tls, services: [transport.service] });
await rpc.listen({ host, port: config.peerPort });
await node.start();
transport.setPeers(new Map(Object.entries(config.peers)));
front.listen(config.frontPort, host);
await once(front, 'listening');
await fill(config.fillEntries ?? 0);
console.log(JSON.stringify(report()));
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(report()));
  // It wakes the process a hundred times a second: not beside what is measured of other things.
  if (line === 'rest') loopDelay.disable();
  if (line === 'reset') {
    loopDelay.reset();
    loopDelay.enable();
  }
}
process.exit(0);
