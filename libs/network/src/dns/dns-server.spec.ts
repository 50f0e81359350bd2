import { createSocket } from 'node:dgram';
import type { Socket } from 'node:dgram';
import { connect, createServer } from 'node:net';
import type { Server } from 'node:net';
import { expect } from 'chai';
import dnsPacket from 'dns-packet';
import type { DecodedPacket, Packet } from 'dns-packet';
import type { BalanceItem, NetworkId, NodeId, ServiceId, TaskId } from '#libs/model';
import type { NetworkProgram } from '../port.js';
import { DnsServer } from './dns-server.js';
import { Zone } from './zone.js';

const front = 'front' as NetworkId;
const back = 'back' as NetworkId;

function balance(
  name: string,
  networkId: NetworkId,
  addresses: string[],
  rest: Partial<BalanceItem> = {},
): BalanceItem {
  return {
    kind: 'balance',
    id: `svc-${name}` as ServiceId,
    name,
    endpoint: { mode: 'vip', virtualIps: [], ports: [] },
    aliases: {} as Record<NetworkId, string[]>,
    endpoints: addresses.map((address, index) => ({
      taskId: `${name}task${index + 1}` as TaskId,
      nodeId: 'n1' as NodeId,
      slot: index + 1,
      networks: [{ networkId, address }],
    })),
    ...rest,
  };
}

const many = Array.from({ length: 100 }, (_, index) => `10.0.5.${index + 1}`);
const program: NetworkProgram = {
  generation: 1,
  self: 'n1' as NodeId,
  settings: { kind: 'settings', id: 'settings', dataPathPort: 4789, addressPools: ['10.0.0.0/8'] },
  networks: [
    {
      kind: 'network',
      id: front,
      name: 'front',
      subnet: '10.0.0.0/16',
      vni: 4096,
      internal: false,
      blocks: {},
    },
    {
      kind: 'network',
      id: back,
      name: 'back',
      subnet: '10.1.0.0/16',
      vni: 4097,
      internal: false,
      blocks: {},
    },
  ],
  peers: [],
  balance: [
    balance('web', front, ['10.0.1.5', '10.0.2.5'], {
      endpoint: { mode: 'vip', virtualIps: [{ networkId: front, address: '10.0.0.9' }], ports: [] },
      aliases: { [front]: ['www'] } as Record<NetworkId, string[]>,
    }),
    balance('db', back, ['10.1.1.5', '10.1.1.6'], { endpoint: { mode: 'dnsrr', virtualIps: [], ports: [] } }),
    balance('many', front, many, { endpoint: { mode: 'dnsrr', virtualIps: [], ports: [] } }),
    balance('idle', front, [], {
      endpoint: { mode: 'vip', virtualIps: [{ networkId: front, address: '10.0.0.10' }], ports: [] },
    }),
  ],
};

type QuestionType = 'A' | 'AAAA' | 'PTR' | 'MX';

function encodeQuery(name: string, type: QuestionType, rest: Partial<Packet> = {}): Buffer {
  return dnsPacket.encode({
    type: 'query',
    id: 77,
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ type, name }],
    ...rest,
  });
}

function askUdp(port: number, message: Buffer): Promise<DecodedPacket> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    const timer = setTimeout(() => reject(new Error('no answer over UDP')), 8000);
    socket.once('message', (answer) => {
      clearTimeout(timer);
      socket.close();
      resolve(dnsPacket.decode(answer));
    });
    socket.send(message, port, '127.0.0.1');
  });
}

function askTcp(port: number, messages: Buffer[]): Promise<DecodedPacket[]> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    const answers: DecodedPacket[] = [];
    let pending = Buffer.alloc(0);
    socket.on('error', reject);
    socket.on('data', (chunk) => {
      pending = Buffer.concat([pending, chunk]);
      while (pending.length >= 2 && pending.length >= pending.readUInt16BE(0) + 2) {
        const length = pending.readUInt16BE(0);
        answers.push(dnsPacket.decode(pending.subarray(2, length + 2)));
        pending = pending.subarray(length + 2);
      }
      if (answers.length < messages.length) return;
      socket.destroy();
      resolve(answers);
    });
    for (const message of messages)
      socket.write(dnsPacket.streamEncode({ ...dnsPacket.decode(message), type: 'query' }));
  });
}

function summary(packet: DecodedPacket): unknown {
  const code = (packet as unknown as { rcode: string }).rcode;
  return [
    code,
    ...(packet.answers ?? []).map((answer) => ('data' in answer ? String(answer.data) : answer.type)),
  ];
}

describe('DNS server', () => {
  let scope: string[] = [front];
  let server: DnsServer;
  let upstream: Socket;
  let upstreamTcp: Server;
  let upstreamPort = 0;
  let forwarded: Buffer[] = [];

  before(async () => {
    upstream = createSocket('udp4');
    await new Promise<void>((resolve) => upstream.bind(0, '127.0.0.1', resolve));
    upstreamPort = upstream.address().port;
    const answer = (message: Buffer): Buffer => {
      forwarded.push(message);
      const query = dnsPacket.decode(message);
      const name = query.questions?.[0]?.name ?? '';
      return dnsPacket.encode({
        type: 'response',
        id: query.id ?? 0,
        questions: query.questions ?? [],
        answers: [{ type: 'A', name, ttl: 60, data: '203.0.113.1' }],
      });
    };
    upstream.on('message', (message, remote) => {
      if (message.includes('silent')) return;
      // A forged answer with another id comes first and must be ignored.
      const forged = Buffer.from(answer(message));
      forged.writeUInt16BE((forged.readUInt16BE(0) + 1) & 0xffff, 0);
      upstream.send(forged, remote.port, remote.address);
      upstream.send(answer(message), remote.port, remote.address);
    });
    upstreamTcp = createServer((socket) => {
      socket.once('data', (data: Buffer) => {
        const body = answer(data.subarray(2));
        const header = Buffer.alloc(2);
        header.writeUInt16BE(body.length);
        socket.end(Buffer.concat([header, body]));
      });
      socket.on('error', () => socket.destroy());
    });
    await new Promise<void>((resolve) => upstreamTcp.listen(upstreamPort, '127.0.0.1', resolve));
    server = new DnsServer({
      address: '127.0.0.1',
      port: 0,
      upstreams: [`127.0.0.1:${upstreamPort}`],
      upstreamTimeoutMs: 200,
      networksOf: () => scope,
      nodeAddresses: [],
    });
    await server.start();
    server.setZone(() => new Zone(program));
  });

  after(async () => {
    await server.close();
    upstream.close();
    upstreamTcp.close();
  });

  beforeEach(() => {
    scope = [front];
    forwarded = [];
  });

  const cases: [string, QuestionType, string[], unknown][] = [
    ['web', 'A', [front], ['NOERROR', '10.0.0.9']],
    ['WEB.', 'A', [front], ['NOERROR', '10.0.0.9']],
    ['www', 'A', [front], ['NOERROR', '10.0.0.9']],
    ['web', 'AAAA', [front], ['NOERROR']],
    ['web', 'MX', [front], ['NOERROR']],
    ['idle', 'A', [front], ['NOERROR', '10.0.0.10']],
    ['tasks.idle', 'A', [front], ['NOERROR']],
    ['web.2.webtask2', 'A', [front], ['NOERROR', '10.0.2.5']],
    ['5.1.0.10.in-addr.arpa', 'PTR', [front], ['NOERROR', 'web.1.webtask1']],
    ['9.0.0.10.in-addr.arpa', 'PTR', [front], ['NOERROR', 'web']],
    ['200.9.0.10.in-addr.arpa', 'PTR', [front], ['NXDOMAIN']],
    ['5.1.1.10.in-addr.arpa', 'PTR', [front], ['NXDOMAIN']],
    ['example.org', 'A', [front], ['NOERROR', '203.0.113.1']],
    ['db', 'A', [front], ['NOERROR', '203.0.113.1']],
  ];
  for (const [name, type, networks, expected] of cases) {
    it(`${name} ${type} from ${networks.join(', ')}`, async () => {
      scope = networks;
      expect(summary(await askUdp(server.port, encodeQuery(name, type)))).to.deep.equal(expected);
    });
  }

  it('gives all tasks, each first in turn', async () => {
    scope = [front, back];
    const firsts = new Set<string>();
    for (let i = 0; i < 2; i++) {
      const answers = (await askUdp(server.port, encodeQuery('db', 'A'))).answers ?? [];
      expect(answers).to.have.length(2);
      firsts.add('data' in answers[0]! ? String(answers[0].data) : '');
    }
    expect([...firsts].sort()).to.deep.equal(['10.1.1.5', '10.1.1.6']);
  });

  it('cuts an answer that does not fit a datagram and gives it whole over TCP', async () => {
    const query = encodeQuery('many', 'A');
    const short = await askUdp(server.port, query);
    expect(short.flag_tc).to.equal(true);
    expect(short.answers?.length).to.be.within(15, 40);
    const [whole, second] = await askTcp(server.port, [query, encodeQuery('web', 'A')]);
    expect(whole?.answers).to.have.length(100);
    expect(second && summary(second)).to.deep.equal(['NOERROR', '10.0.0.9']);
  });

  it('passes questions on over the transport they came by, under an id of its own', async () => {
    const [answer] = await askTcp(server.port, [encodeQuery('example.org', 'A')]);
    expect(answer && summary(answer)).to.deep.equal(['NOERROR', '203.0.113.1']);
    expect(answer?.id).to.equal(77);
  });

  it('says server failure when upstreams are silent', async () => {
    expect(summary(await askUdp(server.port, encodeQuery('silent.example', 'A')))).to.deep.equal([
      'SERVFAIL',
    ]);
  });

  it('survives what is no question', async () => {
    const socket = createSocket('udp4');
    for (const junk of [
      Buffer.alloc(0),
      Buffer.from('GET / HTTP/1.1'),
      Buffer.alloc(12),
      Buffer.alloc(1200, 0xff),
    ]) {
      await new Promise((resolve) => socket.send(junk, server.port, '127.0.0.1', resolve));
    }
    socket.close();
    expect(summary(await askUdp(server.port, encodeQuery('web', 'A')))).to.deep.equal([
      'NOERROR',
      '10.0.0.9',
    ]);
  });
});
