/** The node's DNS server, on the link-local gateway that every container of the node reaches. */
import { createSocket } from 'node:dgram';
import type { Socket as DatagramSocket } from 'node:dgram';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import dnsPacket from 'dns-packet';
import type { DecodedPacket, Packet } from 'dns-packet';
import { EnxameError } from '#libs/model';
import { answerFromZone, datagramLimitBytes, encodeDatagram, respond } from './answer.js';
import { Forwarder } from './forwarder.js';
import { Zone } from './zone.js';

const tcpConnectionsMax = 256;
const tcpIdleMs = 10_000;
const bindAttemptsMax = 20;
const bindRetryMs = 100;

export interface DnsServerOptions {
  address: string;
  /** 53; tests use others. */
  port: number;
  upstreams: readonly string[];
  /** How long one upstream may take; the default suits the world, tests wait less. */
  upstreamTimeoutMs?: number;
  /** Networks of a container of this node, known before the cluster lists it as an endpoint. */
  networksOf(address: string): readonly string[] | undefined;
  /** Addresses of the node itself: it may ask for every name. */
  nodeAddresses: readonly string[];
}

export class DnsServer {
  private zone: Zone | undefined;
  private makeZone: () => Zone = () => new Zone();
  private readonly forwarder: Forwarder;
  private datagrams: DatagramSocket | undefined;
  private streams: Server | undefined;
  private readonly connections = new Set<Socket>();
  private rotation = 0;

  constructor(private readonly options: DnsServerOptions) {
    this.forwarder = new Forwarder(options.upstreams, options.upstreamTimeoutMs);
  }

  /** Names change far more often than anyone asks, so the zone is made when the next question comes. */
  setZone(makeZone: () => Zone): void {
    this.makeZone = makeZone;
    this.zone = undefined;
  }

  private currentZone(): Zone {
    this.zone ??= this.makeZone();
    return this.zone;
  }

  /** Binds; an earlier process of this node may take a moment to let go of the address. */
  async start(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.bind();
        return;
      } catch (cause) {
        await this.close();
        if (attempt === bindAttemptsMax || (cause as NodeJS.ErrnoException).code !== 'EADDRINUSE') {
          const place = `${this.options.address}:${this.options.port}`;
          throw new EnxameError('failed-precondition', `DNS cannot listen on ${place}`, { cause });
        }
        await new Promise((resolve) => setTimeout(resolve, bindRetryMs));
      }
    }
  }

  private async bind(): Promise<void> {
    const { address, port } = this.options;
    const datagrams = createSocket('udp4');
    this.datagrams = datagrams;
    await new Promise<void>((resolve, reject) => {
      datagrams.once('error', reject);
      datagrams.bind({ address, port }, () => {
        datagrams.off('error', reject);
        resolve();
      });
    });
    // A later error concerns one datagram (an unreachable client); the next one may well arrive.
    datagrams.on('error', () => undefined);
    datagrams.on('message', (message, remote) => {
      void this.reply(message, remote.address, 'udp').then((response) => {
        if (response && this.datagrams === datagrams) datagrams.send(response, remote.port, remote.address);
      });
    });
    const streams = createServer((socket) => this.serveStream(socket));
    streams.maxConnections = tcpConnectionsMax;
    this.streams = streams;
    await new Promise<void>((resolve, reject) => {
      streams.once('error', reject);
      streams.listen({ host: address, port: datagrams.address().port }, () => {
        streams.off('error', reject);
        resolve();
      });
    });
  }

  get port(): number {
    return this.datagrams?.address().port ?? this.options.port;
  }

  async close(): Promise<void> {
    const { datagrams, streams } = this;
    this.datagrams = undefined;
    this.streams = undefined;
    for (const socket of this.connections) socket.destroy();
    await Promise.all([
      new Promise<void>((resolve) => {
        if (!datagrams) return resolve();
        try {
          datagrams.close(resolve);
        } catch {
          // It was never bound.
          resolve();
        }
      }),
      new Promise<void>((resolve) => {
        if (!streams) return resolve();
        streams.close(() => resolve());
      }),
    ]);
  }

  private serveStream(socket: Socket): void {
    this.connections.add(socket);
    socket.setTimeout(tcpIdleMs, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.connections.delete(socket));
    let pending = Buffer.alloc(0);
    let busy = false;
    const next = (): void => {
      if (busy || pending.length < 2) return;
      const length = pending.readUInt16BE(0);
      if (pending.length < length + 2) return;
      const message = Buffer.from(pending.subarray(2, length + 2));
      pending = pending.subarray(length + 2);
      busy = true;
      socket.pause();
      void this.reply(message, socket.remoteAddress ?? '', 'tcp').then((response) => {
        busy = false;
        if (!response) return socket.destroy();
        const header = Buffer.alloc(2);
        header.writeUInt16BE(response.length);
        socket.write(Buffer.concat([header, response]));
        socket.resume();
        return next();
      });
    };
    // One question at a time per connection: a client that sends without reading is held back by its own socket.
    socket.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      next();
    });
  }

  private async reply(
    message: Buffer,
    client: string,
    transport: 'udp' | 'tcp',
  ): Promise<Buffer | undefined> {
    let query: DecodedPacket;
    try {
      query = dnsPacket.decode(message);
    } catch {
      // No DNS message: an answer would only help someone who forges the sender.
      return undefined;
    }
    if (query.type !== 'query') return undefined;
    const zone = this.currentZone();
    const networks = this.scopeOf(zone, client);
    const response = answerFromZone(zone, query, networks, (addresses) => this.rotate(addresses));
    if (response !== 'forward') return this.encode(query, response, transport);
    const relayed = await this.forwarder.forward(message, transport);
    return relayed ?? this.encode(query, respond(query, this.failureFor(query)), transport);
  }

  /** Without upstreams a bare word is certainly nobody's name; anything else may exist, we just cannot ask. */
  private failureFor(query: DecodedPacket): 'nameError' | 'serverFailure' {
    const name = query.questions?.[0]?.name.replace(/\.$/, '') ?? '';
    return name.includes('.') || this.options.upstreams.length > 0 ? 'serverFailure' : 'nameError';
  }

  private encode(query: DecodedPacket, response: Packet, transport: 'udp' | 'tcp'): Buffer {
    return transport === 'tcp'
      ? dnsPacket.encode(response)
      : encodeDatagram(response, datagramLimitBytes(query));
  }

  private scopeOf(zone: Zone, client: string): readonly string[] {
    if (this.options.nodeAddresses.includes(client)) return zone.allNetworks();
    return this.options.networksOf(client) ?? zone.networksOf(client);
  }

  /** Each answer starts one further, since many clients take the first address only. */
  private rotate(addresses: string[]): string[] {
    if (addresses.length < 2) return addresses;
    const start = this.rotation++ % addresses.length;
    return [...addresses.slice(start), ...addresses.slice(0, start)];
  }
}
