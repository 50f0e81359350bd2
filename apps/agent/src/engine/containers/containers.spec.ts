import { createApiServer, Demultiplexer } from '#libs/docker-api';
import { createVolumeStore } from '#libs/runtime';
import { expect } from 'chai';
import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { eventually, RuntimeFixture } from '../../../../../libs/runtime/src/runtime-fixture.js';
import { createContainerEngine, type ContainerEngine } from './index.js';

interface Answer {
  status: number;
  // The tests look into documents of many shapes.
  body: Record<string, unknown> & { message?: string; Id?: string };
}

describe('container routes', function () {
  this.timeout(20_000);
  let fixture: RuntimeFixture;
  let engine: ContainerEngine;
  let server: Server;
  let socketPath: string;
  let dispatcher: Agent;

  before(async () => {
    fixture = await RuntimeFixture.make();
    const volumes = createVolumeStore({
      stateDir: join(fixture.folder, 'state'),
      nowMs: () => Date.now(),
      usedBy: (name) =>
        fixture.runtime
          .list()
          .filter(({ config }) => config.mounts.some((mount) => 'name' in mount && mount.name === name))
          .map(({ config }) => config.id),
    });
    await volumes.start();
    const image = { id: `sha256:${'a'.repeat(64)}`, config: { Cmd: ['/bin/sh'], Env: ['FROM=image'] } };
    engine = createContainerEngine({
      runtime: fixture.runtime,
      volumes,
      stateDir: fixture.folder,
      images: {
        find: (reference) => (['box:1', image.id].includes(reference) ? (image as never) : undefined),
        rootLayers: async () => [fixture.layer],
        list: () => [image as never],
        work: () => {
          throw new Error('no images are made here');
        },
        tag: async () => undefined,
      },
      notify: () => undefined,
      nowMs: () => Date.now(),
      log: (error, what) => fixture.errors.push(`${what}: ${String(error)}`),
    });
    engine.start();
    server = createServer();
    createApiServer({
      routes: engine.routes,
      headers: () => ({}),
      log: (error, what) => fixture.errors.push(`${what}: ${String(error)}`),
    }).attach(server);
    socketPath = join(fixture.folder, 'api.sock');
    await new Promise<void>((resolve) => server.listen(socketPath, resolve));
    dispatcher = new Agent({ connect: { socketPath } });
  });
  afterEach(async () => {
    await fixture.removeAll();
    expect(fixture.errors.splice(0)).to.deep.equal([]);
  });
  after(async () => {
    engine.stop();
    await dispatcher.close();
    server.closeAllConnections();
    server.close();
    await fixture.end();
  });

  async function call(method: 'GET' | 'POST' | 'DELETE', path: string, body?: unknown): Promise<Answer> {
    const response = await request(`http://engine/v1.50${path}`, {
      method,
      dispatcher,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
    const text = await response.body.text();
    return { status: response.statusCode, body: (text === '' ? {} : JSON.parse(text)) as Answer['body'] };
  }

  async function create(name: string, change: object = {}, host: object = {}): Promise<string> {
    const { status, body } = await call('POST', `/containers/create?name=${name}`, {
      Image: 'box:1',
      ...change,
      HostConfig: { NetworkMode: 'none', ...host },
    });
    expect(status, body.message).to.equal(201);
    return body.Id ?? '';
  }

  async function started(
    name: string,
    script: string,
    change: object = {},
    host: object = {},
  ): Promise<string> {
    const id = await create(name, { Cmd: ['/bin/sh', '-c', script], ...change }, host);
    expect((await call('POST', `/containers/${id}/start`)).status).to.equal(204);
    return id;
  }

  /** A hijacked connection: what comes after the head, until the other side ends. */
  function hijack(path: string, body: unknown, input: string): Promise<Buffer> {
    const json = body === undefined ? '' : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      const socket = connect({ path: socketPath, allowHalfOpen: true });
      socket.write(
        `POST /v1.50${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: ${json.length}\r\n\r\n${json}`,
      );
      socket.end(input);
      socket.on('data', (chunk: Buffer) => chunks.push(chunk));
      socket.on('error', reject);
      socket.on('end', () => {
        const all = Buffer.concat(chunks);
        expect(all.toString()).to.match(/^HTTP\/1.1 101 UPGRADED\r\n/);
        resolve(all.subarray(all.indexOf('\r\n\r\n') + 4));
      });
    });
  }

  function frames(data: Buffer): string {
    return new Demultiplexer()
      .push(data)
      .map(({ stream, data: text }) => `${stream}:${text.toString()}`)
      .join('');
  }

  it('makes, starts, shows, waits for and removes a container', async () => {
    const id = await create('web', { Cmd: ['/bin/sh', '-c', 'exit 3'], Env: ['A=b'], Labels: { k: 'v' } });
    const waiting = call('POST', `/containers/web/wait?condition=next-exit`);
    expect((await call('POST', `/containers/${id.slice(0, 6)}/start`)).status).to.equal(204);
    expect((await waiting).body).to.deep.equal({ StatusCode: 3 });
    const { body } = await call('GET', '/containers/web/json');
    expect(body).to.deep.include({ Id: id, Name: '/web', Path: '/bin/sh', Args: ['-c', 'exit 3'] });
    expect(body['State']).to.deep.include({ Status: 'exited', ExitCode: 3, Running: false });
    expect(body['Config']).to.deep.include({
      Env: ['A=b', 'FROM=image'],
      Labels: { k: 'v' },
      Image: 'box:1',
    });
    expect((await call('DELETE', '/containers/web')).status).to.equal(204);
    expect((await call('GET', '/containers/web/json')).body.message).to.equal('No such container: web');
  });

  it('lists by state and filters', async () => {
    await started('runs', 'sleep 60', { Labels: { tier: 'a' } });
    await create('idle');
    const names = async (query: string): Promise<unknown> => {
      const { body } = await call('GET', `/containers/json?${query}`);
      return (body as unknown as { Names: string[] }[]).map(({ Names }) => Names[0]);
    };
    expect(await names('')).to.deep.equal(['/runs']);
    expect(await names('all=1')).to.have.members(['/runs', '/idle']);
    const filtered = (filters: object): Promise<unknown> =>
      names(`all=1&filters=${encodeURIComponent(JSON.stringify(filters))}`);
    expect(await filtered({ status: ['created'] })).to.deep.equal(['/idle']);
    expect(await filtered({ label: { 'tier=a': true } })).to.deep.equal(['/runs']);
    expect(await filtered({ name: { '^/id': true } })).to.deep.equal(['/idle']);
    expect(await filtered({ ancestor: ['box'] })).to.have.length(2);
    expect((await call('GET', '/containers/json?filters={"colour":["red"]}')).status).to.equal(400);
  });

  it('attaches before the start, sends stdin and frames both streams', async () => {
    const id = await create('cat', {
      Cmd: ['/bin/sh', '-c', 'echo first; echo e >&2; sleep 0.05; cat'],
      OpenStdin: true,
      StdinOnce: true,
    });
    const attached = hijack(
      `/containers/${id}/attach?stream=1&stdin=1&stdout=1&stderr=1`,
      undefined,
      'typed\n',
    );
    // The attach must be there before the start; the server has answered its head by the time this is answered.
    await call('GET', `/containers/${id}/json`);
    await call('POST', `/containers/${id}/start`);
    const output = frames(await attached);
    expect(output).to.contain('1:first\n').and.contain('2:e\n').and.contain('1:typed\n');
  });

  it('executes with its output, input and exit code', async () => {
    const id = await started('box', 'sleep 60');
    const exec = async (body: object): Promise<string> =>
      (await call('POST', `/containers/${id}/exec`, { AttachStdout: true, AttachStderr: true, ...body })).body
        .Id ?? '';
    const echo = await exec({
      Cmd: ['/bin/sh', '-c', 'cat; echo $X >&2; exit 9'],
      AttachStdin: true,
      Env: ['X=y'],
    });
    expect(frames(await hijack(`/exec/${echo}/start`, { Detach: false, Tty: false }, 'in'))).to.equal(
      '1:in2:y\n',
    );
    expect((await call('GET', `/exec/${echo}/json`)).body).to.deep.include({ ExitCode: 9, Running: false });
    const tty = await exec({ Cmd: ['/bin/tty'], Tty: true });
    expect(
      (await hijack(`/exec/${tty}/start`, { Tty: true, ConsoleSize: [10, 20] }, '')).toString(),
    ).to.equal('/dev/pts/0\r\n');
    const missing = await exec({ Cmd: ['nope'] });
    expect(frames(await hijack(`/exec/${missing}/start`, {}, ''))).to.contain('executable file not found');
    expect((await call('GET', `/exec/${missing}/json`)).body).to.deep.include({ ExitCode: 127 });
    const detached = await exec({ Cmd: ['/bin/touch', '/made'] });
    expect((await call('POST', `/exec/${detached}/start`, { Detach: true })).status).to.equal(200);
    await eventually('the end of the exec', async () => {
      return (await call('GET', `/exec/${detached}/json`)).body['Running'] === false;
    });
    expect((await call('POST', `/exec/${detached}/start`, {})).status).to.equal(409);
    expect((await call('POST', `/containers/${id}/exec`, { Cmd: 'ls' })).body.message).to.contain(
      'invalid Cmd',
    );
    expect((await call('POST', `/containers/${id}/exec`, {})).body.message).to.equal(
      'No exec command specified',
    );
    expect((await call('GET', '/exec/nope/json')).status).to.equal(404);
  });

  it('frames an exec as its starter asks, whatever it was made with', async () => {
    const id = await started('box', 'sleep 60');
    const { body } = await call('POST', `/containers/${id}/exec`, {
      Cmd: ['/bin/stty', 'size'],
      AttachStdout: true,
      Tty: true,
      ConsoleSize: [25, 63],
    });
    expect(frames(await hijack(`/exec/${body.Id}/start`, { Tty: false }, ''))).to.equal('1:25 63\r\n');
  });

  it('starts an exec that was refused while its container was paused', async () => {
    const id = await started('box', 'sleep 60');
    const { body } = await call('POST', `/containers/${id}/exec`, { Cmd: ['/bin/true'] });
    const start = async (): Promise<number> =>
      (await call('POST', `/exec/${body.Id}/start`, { Detach: true })).status;
    await call('POST', `/containers/${id}/pause`);
    expect(await start()).to.equal(409);
    await call('POST', `/containers/${id}/unpause`);
    expect(await start()).to.equal(200);
  });

  it('forgets execs that were not started when their container ends', async () => {
    const id = await started('box', 'sleep 60');
    const make = async (): Promise<string> =>
      (await call('POST', `/containers/${id}/exec`, { Cmd: ['/bin/true'] })).body.Id ?? '';
    const [run, waiting] = [await make(), await make()];
    expect((await call('POST', `/exec/${run}/start`, { Detach: true })).status).to.equal(200);
    await eventually('the end of the exec', async () => {
      return (await call('GET', `/exec/${run}/json`)).body['Running'] === false;
    });
    await call('POST', `/containers/${id}/restart?t=0`);
    expect((await call('POST', `/exec/${waiting}/start`, {})).status).to.equal(404);
    expect((await call('GET', `/exec/${run}/json`)).status).to.equal(200);
  });

  it('tells a body that says nothing from one without a program', async () => {
    const messageOf = async (body: object): Promise<unknown> =>
      (await call('POST', '/containers/create', body)).body.message;
    expect(await messageOf({ HostConfig: {} })).to.equal(
      'config cannot be empty in order to create a container',
    );
    expect(await messageOf({ Image: '' })).to.equal('no command specified');
  });

  it('looks at the body before it looks for the container', async () => {
    for (const path of [
      '/containers/nobody/exec',
      '/containers/nobody/update',
      '/exec/nobody/start',
      '/commit',
    ]) {
      const response = await request(`http://engine/v1.50${path}`, {
        method: 'POST',
        dispatcher,
        body: '{} and more',
        headers: { 'content-type': 'application/json' },
      });
      expect(await response.body.json(), path).to.deep.equal({ message: 'unexpected content after JSON' });
      expect(response.statusCode, path).to.equal(400);
    }
  });

  it('shares the memory of a container that lets it, which is looked at when it starts', async () => {
    const makeJoiner = (name: string): Promise<string> =>
      create(`joins-${name}`, { Cmd: ['/bin/true'] }, { IpcMode: `container:${name}` });
    await started('open', 'sleep 60', {}, { IpcMode: 'shareable' });
    await started('shut', 'sleep 60');
    const refused = await call('POST', `/containers/${await makeJoiner('shut')}/start`);
    expect(refused.body.message).to.contain('non-shareable IPC');
    expect((await call('POST', `/containers/${await makeJoiner('open')}/start`)).status).to.equal(204);
    const old = await request('http://engine/v1.39/containers/create', {
      method: 'POST',
      dispatcher,
      body: JSON.stringify({ Image: 'box:1', HostConfig: { NetworkMode: 'none' } }),
      headers: { 'content-type': 'application/json' },
    });
    const { Id: id } = (await old.body.json()) as { Id: string };
    const shown = (await call('GET', `/containers/${id}/json`)).body['HostConfig'];
    expect(shown).to.deep.include({ IpcMode: 'shareable' });
  });

  it('lets mounts go from what shows the node its own folder', async () => {
    const bind = (text: string): Promise<Answer> =>
      call('POST', '/containers/create', {
        Image: 'box:1',
        HostConfig: { NetworkMode: 'none', Binds: [text] },
      });
    const own = fixture.folder;
    for (const source of [own, join(own, 'state'), '/']) {
      const made = await bind(`${source}:/inside`);
      const shown = (await call('GET', `/containers/${made.body.Id}/json`)).body['Mounts'] as object[];
      expect(shown[0], source).to.deep.include({ Propagation: 'rslave' });
      expect((await bind(`${source}:/inside:private`)).body.message).to.contain('within the daemon root');
      expect((await bind(`${source}:/inside:rshared`)).status).to.equal(201);
    }
    const beside = await bind(`${own}-beside:/inside`);
    const shown = (await call('GET', `/containers/${beside.body.Id}/json`)).body['Mounts'] as object[];
    expect(shown[0]).to.deep.include({ Propagation: 'rprivate' });
  });

  it('gives logs, statistics and processes', async () => {
    const id = await started('talk', 'echo one; echo two >&2; sleep 60');
    const logs = async (query: string): Promise<string> => {
      const response = await request(`http://engine/containers/${id}/logs?${query}`, { dispatcher });
      return frames(Buffer.from(await response.body.arrayBuffer()));
    };
    await eventually('both lines', async () => (await logs('stdout=1&stderr=1')) === '1:one\n2:two\n');
    expect(await logs('stdout=1&tail=all')).to.equal('1:one\n');
    expect(await logs('stderr=1&timestamps=1')).to.match(/^2:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z two\n$/);
    expect((await call('GET', `/containers/${id}/logs`)).status).to.equal(400);
    const stats = await call('GET', `/containers/${id}/stats?stream=0&one-shot=1`);
    expect(stats.body['pids_stats']).to.deep.equal({ current: 1 });
    expect(stats.body['cpu_stats']).to.have.nested.property('system_cpu_usage');
    const top = await call('GET', `/containers/${id}/top`);
    expect(top.body['Processes']).to.have.length(1);
  });

  it('follows a log to the end of the container', async () => {
    const id = await started('follow', 'echo a; read x; echo b', { OpenStdin: true });
    const logs = `http://engine/containers/${id}/logs?stdout=1`;
    await eventually('its first line', async () => {
      const { body } = await request(logs, { dispatcher });
      return (await body.arrayBuffer()).byteLength > 0;
    });
    const response = await request(`${logs}&follow=1`, { dispatcher });
    await call('POST', `/containers/${id}/kill?signal=KILL`);
    expect(frames(Buffer.from(await response.body.arrayBuffer()))).to.equal('1:a\n');
  });

  it('removes what was made with --rm, and its own volumes with it', async () => {
    const id = await create(
      'gone',
      { Cmd: ['/bin/ls', '/data'], Volumes: { '/data': {} } },
      { AutoRemove: true },
    );
    const waiting = call('POST', `/containers/${id}/wait?condition=removed`);
    await call('POST', `/containers/${id}/start`);
    expect((await waiting).body).to.deep.equal({ StatusCode: 0 });
    await eventually('no volume', async () => {
      return ((await call('GET', '/volumes')).body['Volumes'] as unknown[]).length === 0;
    });
  });

  it('restarts what was made with --rm without removing it', async () => {
    const id = await started('short', 'sleep 60', {}, { AutoRemove: true });
    expect((await call('POST', `/containers/${id}/restart?t=0`)).status).to.equal(204);
    expect((await call('GET', `/containers/${id}/json`)).body['State']).to.deep.include({
      Status: 'running',
    });
    expect((await call('POST', `/containers/${id}/kill`)).status).to.equal(204);
    await eventually('its removal', async () => (await call('GET', `/containers/${id}/json`)).status === 404);
  });

  it('keeps volumes that are in use', async () => {
    expect((await call('POST', '/volumes/create', { Name: 'v1', Labels: { a: 'b' } })).status).to.equal(201);
    const id = await started('user', 'sleep 60', {}, { Binds: ['v1:/data:ro'] });
    expect((await call('DELETE', '/volumes/v1')).status).to.equal(409);
    await call('DELETE', `/containers/${id}?force=1`);
    expect((await call('DELETE', '/volumes/v1')).status).to.equal(204);
    expect((await call('DELETE', '/volumes/v1')).status).to.equal(404);
    expect((await call('POST', '/volumes/create', { Name: '../x' })).status).to.equal(400);
  });

  it('refuses what it does not have by name, and what is wrong by field', async () => {
    const refused = async (change: object, host: object = {}): Promise<[number, string]> => {
      const { status, body } = await call('POST', '/containers/create', {
        Image: 'box:1',
        Cmd: ['x'],
        ...change,
        HostConfig: { NetworkMode: 'none', ...host },
      });
      return [status, body.message ?? ''];
    };
    const table: [object, object, number, string][] = [
      [{}, { RestartPolicy: { Name: 'often' } }, 400, "unknown policy 'often'"],
      [{}, { RestartPolicy: { Name: 'always' }, AutoRemove: true }, 400, "can't create 'AutoRemove'"],
      [{}, { CapAdd: ['FLY'] }, 400, 'unknown capability: "CAP_FLY"'],
      [{}, { PidMode: 'container:nobody' }, 400, 'No such container: nobody'],
      [{}, { UTSMode: 'theirs' }, 400, 'invalid UTS mode: theirs'],
      [{}, { Runtime: 'runsc' }, 400, 'unknown or invalid runtime name: runsc'],
      [{}, { LogConfig: { Type: 'paper' } }, 400, "no log driver named 'paper'"],
      [{}, { SecurityOpt: ['speed=high'] }, 400, 'invalid --security-opt'],
      [{}, { MemorySwap: 64 << 20 }, 400, 'You should always set the Memory limit'],
      [{}, { CpusetCpus: '0-99' }, 400, 'Requested CPUs are not available'],
      [{ Healthcheck: { Interval: 5 } }, {}, 400, 'Interval in Healthcheck cannot be less than 1ms'],
      [{}, { NetworkMode: 'mine' }, 400, 'network mine not found'],
      [{ Image: 'nope' }, {}, 404, 'No such image: nope:latest'],
      [{ Env: 'A=b' }, {}, 400, 'invalid Env'],
      [{}, { Memory: 1024 }, 400, 'Minimum memory limit'],
      [{}, { Memory: '1g' }, 400, 'invalid HostConfig.Memory'],
      [{}, { Binds: ['/a:/b:sideways'] }, 400, 'invalid mode: sideways'],
      [{}, { Binds: ['/tmp:/../x'] }, 400, 'invalid mount target'],
      [{ Cmd: null, Entrypoint: [''] }, {}, 400, 'no command specified'],
    ];
    for (const [change, host, status, words] of table) {
      const [gotStatus, message] = await refused(change, host);
      expect([gotStatus, message.includes(words)], message).to.deep.equal([status, true]);
    }
    await create('taken');
    expect(
      (
        await call('POST', '/containers/create?name=taken', {
          Image: 'box:1',
          HostConfig: { NetworkMode: 'none' },
        })
      ).status,
    ).to.equal(409);
    expect(
      (
        await call('POST', '/containers/create?name=-', {
          Image: 'box:1',
          HostConfig: { NetworkMode: 'none' },
        })
      ).status,
    ).to.equal(400);
    expect((await call('POST', '/containers/taken/kill')).status).to.equal(409);
    expect((await call('POST', '/containers/taken/stop')).status).to.equal(304);
  });

  it('says why a start failed', async () => {
    const id = await create('bad', { Cmd: ['/no/such'] });
    const { status, body } = await call('POST', `/containers/${id}/start`);
    expect(status).to.equal(400);
    expect(body.message).to.contain('no such file or directory');
    expect((await call('GET', `/containers/${id}/json`)).body['State']).to.deep.include({ ExitCode: 127 });
  });
});
