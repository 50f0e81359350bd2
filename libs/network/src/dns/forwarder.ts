/** Questions about the rest of the world, passed on word for word to the node's own resolvers. */
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';

const upstreamsMax = 3;
const upstreamTimeoutMsDefault = 2000;
/** Further questions are refused at once instead of growing a queue nobody waits for. */
const inFlightMax = 1024;
const messageBytesMax = 65_535;
const dnsPort = 53;

interface Upstream {
  host: string;
  port: number;
}

/** `address` or `address:port`, IPv4. */
function parseUpstream(text: string): Upstream {
  const [host = '', port] = text.split(':');
  return { host, port: port === undefined ? dnsPort : Number(port) };
}

export class Forwarder {
  private readonly upstreams: readonly Upstream[];
  private inFlight = 0;

  constructor(
    upstreams: readonly string[],
    private readonly timeoutMs = upstreamTimeoutMsDefault,
  ) {
    this.upstreams = upstreams.slice(0, upstreamsMax).map(parseUpstream);
  }

  /** The first upstream's answer, or undefined when none answers in time or too many questions are open. */
  async forward(message: Buffer, transport: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    if (this.inFlight >= inFlightMax || message.length < 12) return undefined;
    this.inFlight++;
    try {
      for (const upstream of this.upstreams) {
        const answer = await (transport === 'udp'
          ? askUdp(upstream, message, this.timeoutMs)
          : askTcp(upstream, message, this.timeoutMs));
        if (answer) return answer;
      }
      return undefined;
    } finally {
      this.inFlight--;
    }
  }
}

/**
 * One socket per question: its random port and a fresh id are what keeps others from forging the answer.
 * The answer must also carry the question it was asked.
 */
function askUdp(upstream: Upstream, message: Buffer, timeoutMs: number): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4');
    const id = randomInt(65_536);
    const outgoing = Buffer.from(message);
    outgoing.writeUInt16BE(id, 0);
    let done = false;
    const finish = (answer: Buffer | undefined): void => {
      if (done) return;
      done = true;
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => finish(undefined), timeoutMs);
    socket.on('error', () => finish(undefined));
    socket.on('message', (answer) => {
      if (answer.length < 12 || answer.readUInt16BE(0) !== id || !sameQuestion(message, answer)) return;
      const relayed = Buffer.from(answer);
      message.copy(relayed, 0, 0, 2);
      finish(relayed);
    });
    socket.connect(upstream.port, upstream.host, () => {
      socket.send(outgoing, (error) => {
        if (error) finish(undefined);
      });
    });
  });
}

/** Compares the question's name, type and class, ignoring case; a server that drops the question says so by count 0. */
function sameQuestion(asked: Buffer, answered: Buffer): boolean {
  if (answered.readUInt16BE(4) === 0) return true;
  let end = 12;
  while (end < asked.length && asked[end] !== 0) end += 1 + (asked[end] ?? 0);
  const text = (buffer: Buffer): string =>
    buffer
      .subarray(12, end + 5)
      .toString('latin1')
      .toLowerCase();
  return text(asked) === text(answered);
}

function askTcp(upstream: Upstream, message: Buffer, timeoutMs: number): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let received = 0;
    const socket = connect(upstream.port, upstream.host);
    const finish = (answer: Buffer | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => finish(undefined), timeoutMs);
    socket.on('error', () => finish(undefined));
    socket.on('close', () => finish(undefined));
    socket.on('data', (chunk) => {
      chunks.push(chunk);
      received += chunk.length;
      if (received > messageBytesMax + 2) return finish(undefined);
      if (received < 2) return;
      const all = Buffer.concat(chunks);
      const length = all.readUInt16BE(0);
      if (all.length >= length + 2) finish(all.subarray(2, length + 2));
    });
    const header = Buffer.alloc(2);
    header.writeUInt16BE(message.length);
    socket.write(Buffer.concat([header, message]));
  });
}
