import { EnxameError } from '#libs/model';
import { expect } from 'chai';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { openStore, type OpenedStore } from '../fixtures/opened-store.js';

const right = `Basic ${Buffer.from('ana:secret').toString('base64')}`;

describe('docker login', () => {
  let opened: OpenedStore;
  let server: Server;
  let host: string;
  let kind: 'basic' | 'token' | 'open';

  beforeEach(async () => {
    opened = await openStore();
    server = createServer((request, response) => {
      const given = request.headers.authorization;
      const realm = `http://${host}/token`;
      if (request.url?.startsWith('/token')) {
        response.writeHead(given === right ? 200 : 401, { 'content-type': 'application/json' });
        response.end(JSON.stringify(given === right ? { token: 'abc' } : { errors: [] }));
      } else if (kind === 'open' || given === (kind === 'basic' ? right : 'Bearer abc')) {
        response.writeHead(200).end('{}');
      } else {
        const challenge = kind === 'basic' ? 'Basic realm="x"' : `Bearer realm="${realm}",service="x"`;
        response.writeHead(401, { 'www-authenticate': challenge }).end('{}');
      }
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterEach(async () => {
    await opened.end();
    server.closeAllConnections();
    server.close();
  });

  async function login(password: string): Promise<string> {
    try {
      await opened.store.checkLogin({ server: host, auth: { username: 'ana', password } });
      return 'in';
    } catch (error) {
      return error instanceof EnxameError ? error.code : String(error);
    }
  }

  for (const way of ['basic', 'token'] as const) {
    it(`tells a right password from a wrong one: ${way}`, async () => {
      kind = way;
      expect(await login('secret')).to.equal('in');
      expect(await login('guess')).to.equal('unauthorized');
    });
  }

  it('is welcome where nobody asks', async () => {
    kind = 'open';
    expect(await login('anything')).to.equal('in');
  });

  it('says that a registry cannot be reached', async () => {
    host = '127.0.0.1:1';
    expect(await login('secret')).to.equal('unavailable');
  });
});
