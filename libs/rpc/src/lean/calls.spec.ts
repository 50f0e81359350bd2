import { once } from 'node:events';
import { connect as connectHttp2, createServer as createHttp2Server, type Http2Server } from 'node:http2';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  credentials,
  type Client,
  makeClientConstructor,
  Server as GrpcServer,
  ServerCredentials,
} from '@grpc/grpc-js';
import { expect } from 'chai';
import { defaultConnectionLimits } from './connection.js';
import { GrpcClient } from './grpc-client.js';
import { GrpcStatus, type MessageStream } from './messages.js';
import { type GrpcMethods, serveGrpc } from './served-calls.js';

const bytesPass = {
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
};
const definition = {
  echo: { path: '/test.Echo/Echo', requestStream: false, responseStream: false, ...bytesPass },
  both: { path: '/test.Echo/Both', requestStream: true, responseStream: true, ...bytesPass },
};

function same(bytes: Buffer): Buffer {
  return bytes;
}

const methods: GrpcMethods = {
  unary: {
    '/test.Echo/Echo': async (request) => {
      if (request.toString() === 'fail') throw new GrpcStatus('9', '100 % not now, é');
      await nextTurn();
      return request;
    },
    '/test.Echo/Never': () => new Promise(() => undefined),
  },
  streams: {
    '/test.Echo/Both': (stream) => ({
      message: (message) => void stream.send(Buffer.from(message)),
      ended: () => stream.end(),
      drained: () => undefined,
    }),
  },
};

/** So long that it takes many frames and the windows must be opened again and again. */
const long = Buffer.alloc(5_000_000, 'long ');

describe('lean gRPC', function () {
  this.timeout(30_000);
  const ends: (() => unknown)[] = [];
  afterEach(() => {
    for (const end of ends.splice(0)) end();
  });

  async function portOf(server: Server | Http2Server): Promise<number> {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    ends.push(() => server.close());
    return (server.address() as AddressInfo).port;
  }

  const serve = (limits = defaultConnectionLimits, errors: (Error | undefined)[] = []): Promise<number> =>
    portOf(
      createServer((socket) => {
        const options = { messageBytesMax: 16 * 1024 * 1024, connection: limits };
        serveGrpc(socket, methods, { limits: options, closed: (error?: Error) => void errors.push(error) });
      }),
    );

  function socketTo(port: number): Socket {
    const socket = connect(port, '127.0.0.1');
    ends.push(() => socket.destroy());
    return socket;
  }

  const clientOf = (port: number): GrpcClient =>
    new GrpcClient(socketTo(port), { scheme: 'http', authority: 'test' });

  const statusOf = (call: Promise<Buffer>): Promise<GrpcStatus> =>
    call.then(
      () => expect.fail('it was answered'),
      (error: unknown) => error as GrpcStatus,
    );

  /** Everything that comes back of what is sent, once the stream has ended. */
  function exchange(client: GrpcClient, messages: readonly Buffer[]): Promise<Buffer[]> {
    return new Promise((resolve, reject) => {
      const received: Buffer[] = [];
      const stream = client.open('/test.Echo/Both', {
        message: (message) => void received.push(Buffer.from(message)),
        ended: (error) => (error === undefined ? resolve(received) : reject(error)),
        drained: () => undefined,
      }) as MessageStream;
      for (const message of messages) stream.send(message);
      stream.end();
    });
  }

  const messages = [Buffer.from('one'), Buffer.alloc(0), long, Buffer.from('two')];

  it('calls itself: many at once, long ones, failures, streams', async () => {
    const client = clientOf(await serve());
    const requests = Array.from({ length: 300 }, (_, i) => Buffer.from(`request ${i}`));
    const answers = await Promise.all(
      [...requests, long].map((each) => client.call('/test.Echo/Echo', each)),
    );
    expect(answers).to.deep.equal([...requests, long]);
    const { status, message } = await statusOf(client.call('/test.Echo/Echo', Buffer.from('fail')));
    expect([status, message]).to.deep.equal(['9', '100 % not now, é']);
    const unknown = await statusOf(client.call('/test.Echo/Nothing', Buffer.alloc(0)));
    expect([unknown.status, unknown.message]).to.deep.equal(['12', 'there is no method /test.Echo/Nothing']);
    expect(await exchange(client, messages)).to.deep.equal(messages);
  });

  it("answers grpc-js's client", async () => {
    const port = await serve();
    const Constructor = makeClientConstructor(definition, 'Echo');
    const client = new Constructor(`127.0.0.1:${port}`, credentials.createInsecure()) as unknown as Client &
      Record<'echo' | 'both', (...args: unknown[]) => never>;
    ends.push(() => client.close());
    const call = (request: Buffer): Promise<Buffer> =>
      new Promise((resolve, reject) => {
        client.echo(request, (error: Error | null, answer: Buffer) =>
          error ? reject(error) : resolve(answer),
        );
      });
    expect(await Promise.all([Buffer.from('a'), long.subarray(0, 3_000_000)].map(call))).to.deep.equal([
      Buffer.from('a'),
      long.subarray(0, 3_000_000),
    ]);
    const failure = await call(Buffer.from('fail')).catch(
      (error) => error as { code: number; details: string },
    );
    expect(failure).to.deep.include({ code: 9, details: '100 % not now, é' });
  });

  it("calls grpc-js's server, unary and on streams", async () => {
    const server = new GrpcServer();
    server.addService(definition, {
      echo: (call: { request: Buffer }, answer: (error: object | null, response?: Buffer) => void) =>
        call.request.toString() === 'fail'
          ? answer({ code: 9, details: 'not now' })
          : answer(null, call.request),
      both: (call: NodeJS.ReadWriteStream) => {
        call.on('data', (message) => call.write(message));
        call.on('end', () => call.end());
      },
    });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    ends.push(() => server.forceShutdown());
    const client = clientOf(port);
    const request = long.subarray(0, 3_000_000);
    expect(await client.call('/test.Echo/Echo', request)).to.deep.equal(request);
    const { status, message } = await statusOf(client.call('/test.Echo/Echo', Buffer.from('fail')));
    expect([status, message]).to.deep.equal(['9', 'not now']);
    const short = messages.map((each) => each.subarray(0, 1_000_000));
    expect(await exchange(client, short)).to.deep.equal(short);
  });

  it("answers Node's own HTTP/2 client, whose headers are compressed and whose window is small", async () => {
    const session = connectHttp2(`http://127.0.0.1:${await serve()}`, {
      settings: { initialWindowSize: 1_000 },
    });
    ends.push(() => session.destroy());
    for (let i = 0; i < 50; i++) {
      const stream = session.request({
        ':method': 'POST',
        ':path': '/test.Echo/Echo',
        'content-type': 'application/grpc',
        te: 'trailers',
        'x-one': `value ${i % 7} with some length`,
        'x-two': 'x'.repeat(i * 100),
      });
      const request = Buffer.alloc(40_000, `${i} `);
      const prefix = Buffer.alloc(5);
      prefix.writeUInt32BE(request.length, 1);
      stream.end(Buffer.concat([prefix, request]));
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      const [trailers] = (await once(stream, 'trailers')) as [Record<string, string>];
      expect(trailers['grpc-status']).to.equal('0');
      await once(stream, 'close');
      expect(Buffer.concat(chunks).subarray(5)).to.deep.equal(request);
    }
  });

  it("calls Node's own HTTP/2 server", async () => {
    const server = createHttp2Server({ settings: { initialWindowSize: 10, maxFrameSize: 16_384 } });
    server.on('stream', (stream, headers) => {
      expect(headers[':path']).to.equal('/test.Echo/Echo');
      stream.respond(
        { ':status': 200, 'content-type': 'application/grpc', 'x-long': 'y'.repeat(20_000) },
        { waitForTrailers: true },
      );
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.pipe(stream);
    });
    const client = clientOf(await portOf(server));
    const request = long.subarray(0, 300_000);
    expect(await client.call('/test.Echo/Echo', request)).to.deep.equal(request);
    client.close();
  });

  it('gives up a call that is not answered in time, and the connection lives on', async () => {
    const client = clientOf(await serve());
    const { status } = await statusOf(client.call('/test.Echo/Never', Buffer.alloc(0), 1));
    expect(status).to.equal('4');
    expect(await client.call('/test.Echo/Echo', Buffer.from('a'))).to.deep.equal(Buffer.from('a'));
  });

  it('tells every caller when the connection is gone', async () => {
    const port = await serve();
    const socket = socketTo(port);
    const client = new GrpcClient(socket, { scheme: 'http', authority: 'test' });
    const calls = [1, 2].map(() => statusOf(client.call('/test.Echo/Never', Buffer.alloc(0))));
    await client.call('/test.Echo/Echo', Buffer.from('a'));
    socket.destroy();
    expect((await Promise.all(calls)).map(({ status }) => status)).to.deep.equal(['14', '14']);
    expect((await statusOf(client.call('/test.Echo/Echo', Buffer.from('a')))).status).to.equal('14');
  });

  it('notices that the other side has fallen silent, and lets one live that only has nothing to say', async () => {
    const limits = {
      messageBytesMax: 1_000,
      connection: { ...defaultConnectionLimits, silenceMs: 50 },
    };
    const silent = await portOf(createServer((socket) => void socket.resume()));
    const closed = await new Promise<Error | undefined>((resolve) => {
      new GrpcClient(socketTo(silent), { scheme: 'http', authority: 'test', limits, closed: resolve });
    });
    expect(closed?.message).to.equal('HTTP/2: the other side has fallen silent');
    const quiet = new GrpcClient(socketTo(await serve()), { scheme: 'http', authority: 'test', limits });
    const { status } = await statusOf(quiet.call('/test.Echo/Never', Buffer.alloc(0), 300));
    expect(status).to.equal('4');
    expect(quiet.isOpen).to.equal(true);
  });

  it('takes no more streams at once than it allows', async () => {
    const client = clientOf(await serve({ ...defaultConnectionLimits, streamsMax: 3 }));
    await client.call('/test.Echo/Echo', Buffer.from('settings have come'));
    for (let i = 0; i < 3; i++) client.call('/test.Echo/Never', Buffer.alloc(0)).catch(() => undefined);
    expect((await statusOf(client.call('/test.Echo/Echo', Buffer.alloc(0)))).status).to.equal('14');
  });

  describe('ends the connection with a reason', () => {
    const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    const frame = (kind: number, flags: number, id: number, body: Buffer): Buffer => {
      const head = Buffer.alloc(9);
      head.writeUIntBE(body.length, 0, 3);
      head[3] = kind;
      head[4] = flags;
      head.writeUInt32BE(id, 5);
      return Buffer.concat([head, body]);
    };
    const cases: Record<string, [Buffer, string]> = {
      'that speaks HTTP/1': [Buffer.from('GET / HTTP/1.1\r\nhost: a\r\n\r\n'), 'this is not HTTP/2'],
      'with a frame that is too large': [
        Buffer.concat([preface, frame(0, 0, 1, Buffer.alloc(100_000))]),
        'a frame of 100000 bytes',
      ],
      'with data for no stream': [
        Buffer.concat([preface, frame(0, 0, 7, Buffer.alloc(1))]),
        'data for no stream',
      ],
      'with headers without end': [
        Buffer.concat([preface, frame(1, 0, 1, Buffer.alloc(60_000)), frame(9, 0, 1, Buffer.alloc(60_000))]),
        'headers without end',
      ],
      'with a header block that is cut off': [
        Buffer.concat([preface, frame(1, 0, 1, Buffer.from([0x82])), frame(6, 0, 0, Buffer.alloc(8))]),
        'a header block that was cut off',
      ],
      'with headers that cannot be read': [
        Buffer.concat([preface, frame(1, 4, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]))]),
        'an integer that is too large',
      ],
      'that opens streams and takes them back without end': [
        Buffer.concat([
          preface,
          ...Array.from({ length: 1_100 }, (_, i) =>
            Buffer.concat([frame(1, 4, 2 * i + 1, Buffer.of(0x83)), frame(3, 0, 2 * i + 1, Buffer.alloc(4))]),
          ),
        ]),
        'too many streams are opened and taken back',
      ],
      'with a window that cannot be': [
        Buffer.concat([preface, frame(8, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff]))]),
        'a window update that cannot be',
      ],
    };
    for (const [name, [bytes, words]] of Object.entries(cases)) {
      it(name, async () => {
        const errors: (Error | undefined)[] = [];
        const socket = socketTo(await serve(defaultConnectionLimits, errors));
        socket.resume();
        socket.write(bytes);
        await once(socket, 'close');
        expect(errors.map((error) => error?.message)).to.deep.equal([`HTTP/2: ${words}`]);
      });
    }

    it('whose bytes come one by one, once they are wrong', async () => {
      const errors: (Error | undefined)[] = [];
      const socket = socketTo(await serve(defaultConnectionLimits, errors));
      socket.setNoDelay(true);
      socket.resume();
      for (const byte of Buffer.concat([preface, frame(5, 0, 1, Buffer.alloc(4))])) {
        socket.write(Buffer.of(byte));
        await nextTurn();
      }
      await once(socket, 'close');
      expect(errors.map((error) => error?.message)).to.deep.equal(['HTTP/2: a pushed stream']);
    });
  });
});
