/**
 * A client as a process: so many callers at once, each with one call under way, for so many seconds. The same for
 * every server that speaks the KV service. Arguments: target, put | puts | range | echo, clients, seconds. Prints a LoadResult.
 */
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

/** One connection's way to make a call. */
function wayTo(): (key: Uint8Array) => Promise<unknown> {
  if (verb === 'puts') {
    const stream = new StreamClient(target, paths.puts);
    return (key) => stream.call(encodePut({ key, value }));
  }
  const client = new UnaryClient(target);
  if (verb === 'put' || verb === 'echo') return (key) => client.call(paths[verb], encodePut({ key, value }));
  return (key) => client.call(paths.range, encodeRange(key));
}

const value = Buffer.alloc(valueBytes, 'v');
const connections = Array.from({ length: Math.ceil(clients / callersPerConnection) }, wayTo);
const latenciesMs: number[] = [];
let calls = 0;
let failures = 0;
let failure: string | undefined;
let isMeasuring = false;
let isOver = false;

async function callForEver(caller: number): Promise<void> {
  const call = connections[Math.floor(caller / callersPerConnection)] as (
    key: Uint8Array,
  ) => Promise<unknown>;
  for (let i = caller; !isOver; i += clients) {
    const key = Buffer.from(`key-${i % keyCount}`);
    const startedAt = performance.now();
    try {
      await call(key);
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
