import { EnxameError } from '#libs/model';
import { expect } from 'chai';
import { createServer } from 'node:http';
import { createConnection, type AddressInfo, type Socket } from 'node:net';
import { createApiServer, type ApiServer, type ApiServerOptions } from './api-server.js';
import { exchangeOf } from './api-exchange.js';
import type { Route } from './port.js';
import { proxyTo } from './proxy.js';

const echo: Route = {
  method: 'POST',
  path: '/exec/:id/start',
  async handler(request, response) {
    const body = await request.json();
    const connection = response.hijack('application/vnd.docker.raw-stream');
    connection.write(`${request.params['id']}:${JSON.stringify(body)};`);
    // Echo until the client ends its side, then say goodbye on the half that is still open.
    connection.on('data', (chunk: Buffer) => connection.write(chunk));
    connection.on('end', () => connection.end('bye'));
  },
};

const routes: Route[] = [
  echo,
  {
    method: 'GET',
    path: '/images/:name+/json',
    handler: async (request, response) => response.json(200, { image: request.params['name'] }),
  },
  {
    method: 'GET',
    path: '/images/json',
    handler: async (_request, response) => response.json(200, { list: true }),
  },
  {
    method: 'GET',
    path: '/containers/:id/json',
    handler: async (request) => {
      throw new EnxameError('not-found', `No such container: ${request.params['id']}`);
    },
  },
  {
    method: 'POST',
    path: '/things',
    handler: async (request, response) => response.json(201, { got: await request.json() }),
  },
  {
    method: 'POST',
    path: '/broken',
    handler: async () => {
      throw new Error('a bug');
    },
  },
];

const running: ApiServer[] = [];

async function listen(options: Partial<ApiServerOptions> = {}): Promise<number> {
  const server = createServer();
  const api = createApiServer({ routes, headers: () => ({ 'Api-Version': '1.50' }), ...options });
  api.attach(server);
  running.push(api);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** Writes raw pieces, each after the answer so far satisfies its condition; returns all that came until the end. */
async function converse(
  port: number,
  steps: { when?: (sofar: string) => boolean; send: string; end?: boolean }[],
): Promise<string> {
  const socket: Socket = createConnection({ port, host: '127.0.0.1', allowHalfOpen: true });
  let sofar = '';
  const pending = [...steps];
  return new Promise((resolve, reject) => {
    const advance = (): void => {
      while (pending[0] !== undefined && (pending[0].when?.(sofar) ?? true)) {
        const step = pending.shift();
        if (step?.end === true) socket.end(step.send);
        else if (step !== undefined) socket.write(step.send);
      }
    };
    socket.on('connect', advance);
    socket.on('data', (chunk) => {
      sofar += chunk.toString();
      advance();
    });
    socket.on('end', () => {
      socket.end();
      resolve(sofar);
    });
    socket.on('error', reject);
  });
}

const upgradeHead = (length: number): string =>
  `POST /v1.50/exec/e1/start HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: ${length}\r\n\r\n`;

describe('ApiServer', () => {
  afterEach(async () => {
    for (const api of running.splice(0)) await api.close();
  });

  async function call(port: number, method: string, path: string, body?: string, type = 'application/json') {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      ...(body === undefined ? {} : { body, headers: { 'content-type': type } }),
    });
    const text = await answer.text();
    return {
      status: answer.status,
      body: text === '' ? undefined : (JSON.parse(text) as unknown),
      headers: answer.headers,
    };
  }

  it('strips the version, takes slashes in names and prefers literal segments', async () => {
    const port = await listen();
    expect(await call(port, 'GET', '/v1.41/images/reg:5000/a/b:1/json')).to.deep.include({
      status: 200,
      body: { image: 'reg:5000/a/b:1' },
    });
    expect(await call(port, 'GET', '/images/json')).to.deep.include({ status: 200, body: { list: true } });
    const head = await call(port, 'HEAD', '/v1.50/images/json');
    expect([head.status, head.body, head.headers.get('api-version')]).to.deep.equal([200, undefined, '1.50']);
  });

  it('answers errors with their status and a message', async () => {
    const failures: string[] = [];
    const port = await listen({ log: (_error, what) => failures.push(what) });
    const table: [string, string, string | undefined, number, string][] = [
      [
        'GET',
        '/v1.21/images/json',
        undefined,
        400,
        'client version 1.21 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version',
      ],
      [
        'GET',
        '/v1.23/images/json',
        undefined,
        400,
        'client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version',
      ],
      [
        'GET',
        '/v1.99/images/json',
        undefined,
        400,
        'client version 1.99 is too new. Maximum supported API version is 1.50',
      ],
      ['GET', '/nothing', undefined, 404, 'page not found'],
      ['PUT', '/images/json', undefined, 404, 'page not found'],
      ['GET', '/containers/c9/json', undefined, 404, 'No such container: c9'],
      ['GET', '/containers/%E0%A4%A/json', undefined, 400, 'invalid URL escape in path parameter id'],
      ['POST', '/broken', undefined, 500, 'a bug'],
    ];
    for (const [method, path, body, status, message] of table) {
      expect(await call(port, method, path, body), path).to.deep.include({ status, body: { message } });
    }
    expect(failures).to.deep.equal(['POST /broken']);
  });

  it('reads JSON bodies, refuses broken and oversized ones and stays alive', async () => {
    const port = await listen();
    expect((await call(port, 'POST', '/things', '{"a":1}')).body).to.deep.equal({ got: { a: 1 } });
    expect((await call(port, 'POST', '/things')).body).to.deep.equal({});
    expect(await call(port, 'POST', '/things', '{"a":1}', 'text/plain')).to.deep.include({
      status: 400,
      body: { message: "unsupported Content-Type header (text/plain): must be 'application/json'" },
    });
    const broken = await call(port, 'POST', '/things', '{"a":');
    expect(broken.status).to.equal(400);
    expect(JSON.stringify(broken.body)).to.contain('invalid JSON');
    const huge = await converse(port, [
      { send: 'POST /things HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n{' },
    ]);
    expect(huge).to.contain('HTTP/1.1 400').and.to.contain('larger than the limit of 4194304 bytes');
    const chunk = `${(1024 * 1024).toString(16)}\r\n${'x'.repeat(1024 * 1024)}\r\n`;
    const chunked = await converse(port, [
      { send: `POST /things HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunk.repeat(5)}` },
    ]);
    expect(chunked).to.contain('HTTP/1.1 400').and.to.contain('larger than the limit');
    expect((await call(port, 'POST', '/things', '1')).body).to.deep.equal({ got: 1 });
  });

  it('takes a body that comes after its request has failed, and goes on with the connection', async () => {
    const port = await listen();
    const socket = createConnection({ port, host: '127.0.0.1' });
    let answers = '';
    socket.on('data', (chunk: Buffer) => {
      answers += chunk.toString();
    });
    socket.write('POST /broken HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n');
    await new Promise((resolve) => setTimeout(resolve, 30));
    socket.write('bodyGET /images/json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    await new Promise((resolve) => socket.once('close', resolve));
    expect(answers).to.match(/^HTTP\/1.1 500 /);
    expect(answers).to.include('{"list":true}');
  });

  it('answers bytes that are no HTTP with 400', async () => {
    const port = await listen();
    expect(await converse(port, [{ send: 'NONSENSE\r\n\r\n' }])).to.contain('HTTP/1.1 400');
  });

  for (const place of ['direct', 'through a proxy'] as const) {
    describe(`take-over of a connection, ${place}`, () => {
      async function listenAt(): Promise<number> {
        const target = await listen();
        if (place === 'direct') return target;
        return listen({
          routes: [],
          fallback: async (exchange) => {
            await proxyTo({ host: '127.0.0.1', port: target }, exchange);
            return true;
          },
        });
      }

      it('finds body and input in one packet, keeps the half-open side', async () => {
        const port = await listenAt();
        const text = await converse(port, [{ send: `${upgradeHead(14)}{"Tty":false }stdin`, end: true }]);
        expect(text).to.match(/^HTTP\/1\.1 101 UPGRADED\r\n/);
        expect(text.split('\r\n\r\n')[1]).to.equal('e1:{"Tty":false};stdinbye');
      });

      it('waits for a body that comes later, in pieces', async () => {
        const port = await listenAt();
        const text = await converse(port, [
          { send: upgradeHead(13) },
          { send: '{"Tty"' },
          { send: ':false}first,' },
          { when: (sofar) => sofar.includes('first,'), send: 'second', end: true },
        ]);
        expect(text.split('\r\n\r\n')[1]).to.equal('e1:{"Tty":false};first,secondbye');
      });

      it('answers an error to a request that asked to upgrade', async () => {
        const port = await listenAt();
        const text = await converse(port, [
          { send: 'POST /exec/none HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n' },
        ]);
        expect(text).to.contain('HTTP/1.1 404').and.to.contain('{"message":"page not found"}');
      });
    });
  }

  it('gives the raw connection to a client that does not ask to upgrade', async () => {
    const port = await listen();
    const text = await converse(port, [
      { send: 'POST /exec/e2/start HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}' },
      { when: (sofar) => sofar.includes('e2:'), send: 'typed', end: true },
    ]);
    expect(text).to.match(/^HTTP\/1\.1 200 OK\r\n/);
    expect(text.split('\r\n\r\n')[1]).to.equal('e2:{};typedbye');
  });

  it('upgrades for a client that names the protocol and nothing more', async () => {
    const port = await listen();
    const head = 'POST /exec/e2/start HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}';
    const text = await converse(port, [
      { send: head },
      { when: (sofar) => sofar.includes('e2:'), send: 'typed', end: true },
    ]);
    expect(text).to.match(/^HTTP\/1\.1 101 UPGRADED\r\n/);
  });

  it('answers what may be asked anywhere', async () => {
    expect((await call(await listen(), 'OPTIONS', '/')).status).to.equal(200);
  });

  it('passes answers and bodies through a proxy, and says when the target is not there', async () => {
    const target = await listen();
    const port = await listen({
      routes: [
        {
          method: 'POST',
          path: '/things',
          handler: (request) => proxyTo({ host: '127.0.0.1', port: target }, exchangeOf(request)),
        },
        {
          method: 'GET',
          path: '/gone',
          handler: (request) => proxyTo({ socketPath: '/nonexistent.sock' }, exchangeOf(request)),
        },
      ],
    });
    expect(await call(port, 'POST', '/v1.44/things', '{"a":2}')).to.deep.include({
      status: 201,
      body: { got: { a: 2 } },
    });
    expect((await call(port, 'GET', '/gone')).status).to.equal(503);
  });

  it('aborts the signal of a handler whose client has left', async () => {
    let left: Promise<void> | undefined;
    let entered: (() => void) | undefined;
    const inside = new Promise<void>((resolve) => (entered = resolve));
    const port = await listen({
      routes: [
        {
          method: 'GET',
          path: '/events',
          handler: async (request, response) => {
            response.stream(200, { 'Content-Type': 'application/json' });
            left = new Promise((resolve) => request.signal.addEventListener('abort', () => resolve()));
            entered?.();
          },
        },
      ],
    });
    const socket = createConnection({ port, host: '127.0.0.1' });
    socket.write('GET /events HTTP/1.1\r\nHost: x\r\n\r\n');
    await inside;
    socket.destroy();
    await left;
  });
});
