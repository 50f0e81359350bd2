/**
 * A client as a process: so many callers at once, each with one call under way, for so many seconds. The same for
 * every server that speaks the KV service. Arguments: target, put | puts | range | ranges | echo (puts and ranges on a
 * stream per caller), clients, seconds. Prints a LoadResult.
 */
import { connect } from 'node:http2';
import { summarize } from '../figures.js';
import { encodePut, encodeRange, paths } from './kv.js';
import { StreamClient } from './stream.js';
import { UnaryClient } from './wire.js';

export interface LoadResult {
  perSecond: number;
  p50Ms: number;
  p99Ms: number;
  /** The ones that warmed up included. */
  calls: number;
  failures: number;
  failure?: string;
}

const [target = '', verb = 'put', clientCount = '1', seconds = '1'] = process.argv.slice(2);
const clients = Number(clientCount);
/** Callers share connections as the callers of one program do. */
const callersPerConnection = 64;
const keyCount = 10_000;
const valueBytes = 256;

type Call = (request: Uint8Array) => Promise<unknown>;

/** A new connection; what comes out is called once for each caller. */
function connection(): () => Call {
  if (verb === 'puts' || verb === 'ranges') {
    const session = connect(`http://${target}`);
    session.on('error', () => undefined);
    return () => {
      const stream = new StreamClient(session, paths[verb]);
      return (request) => stream.call(request);
    };
  }
  const path = verb === 'put' || verb === 'echo' ? paths[verb] : paths.range;
  const client = new UnaryClient(target);
  return () => (request) => client.call(path, request);
}

const isRead = verb === 'range' || verb === 'ranges';
const value = Buffer.alloc(valueBytes, 'v');
const connections = Array.from({ length: Math.ceil(clients / callersPerConnection) }, connection);
const latenciesMs: number[] = [];
let calls = 0;
let failures = 0;
let failure: string | undefined;
let isMeasuring = false;
let isOver = false;

async function callForEver(caller: number): Promise<void> {
  const call = (connections[Math.floor(caller / callersPerConnection)] as () => Call)();
  for (let i = caller; !isOver; i += clients) {
    const key = Buffer.from(`key-${i % keyCount}`);
    const startedAt = performance.now();
    try {
      await call(isRead ? encodeRange(key) : encodePut({ key, value }));
      calls++;
      if (isMeasuring && !isOver) latenciesMs.push(performance.now() - startedAt);
    } catch (error) {
      failures++;
      failure = String(error);
    }
  }
}

const callers = Array.from({ length: clients }, (_, caller) => callForEver(caller));
const measuredMs = Number(seconds) * 1000;
// The first part warms up connections and compilers on both sides.
setTimeout(() => {
  isMeasuring = true;
}, measuredMs / 3);
setTimeout(
  () => {
    isOver = true;
  },
  measuredMs / 3 + measuredMs,
);
await Promise.all(callers);
const { median, p99, count } = summarize(latenciesMs);
const result: LoadResult = {
  perSecond: count / Number(seconds),
  p50Ms: median,
  p99Ms: p99,
  calls,
  failures,
  ...(failure === undefined ? {} : { failure }),
};
console.log(JSON.stringify(result));
process.exit(0);
