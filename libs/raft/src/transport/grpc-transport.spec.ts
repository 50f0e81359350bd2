import { createServer, type AddressInfo, type Server, type Socket, connect } from 'node:net';
import { expect } from 'chai';
import { createRpcClient, raft } from '#libs/rpc';
import type { PeerMessage, SnapshotIntake } from '../port.js';
import { TestCluster } from './testing/certificates.js';
import { eventually } from './testing/eventually.js';
import { memorySnapshot, TestPeer, type TestPeerOptions } from './testing/test-peer.js';

const heartbeat = (readSequence: number): PeerMessage => ({
  kind: 'heartbeat',
  term: 1,
  commit: 0,
  readSequence,
});

describe('raft transport over gRPC', function () {
  this.timeout(30_000);
  let cluster: TestCluster;
  let running: { stop(): Promise<void> }[] = [];

  before(async () => {
    cluster = await TestCluster.create();
  });
  afterEach(async () => {
    await Promise.all(running.map((each) => each.stop()));
    running = [];
  });

  async function peer(id: string, options: Partial<TestPeerOptions> = {}): Promise<TestPeer> {
    const started = await TestPeer.start({
      id,
      credentials: options.credentials ?? (await cluster.credentials(id)),
      ...options,
    });
    running.push(started);
    return started;
  }

  const meet = (a: TestPeer, b: TestPeer): Promise<void> =>
    eventually(
      () => a.transport.isReachable(b.id) && b.transport.isReachable(a.id),
      () => `${a.id}: ${a.logged.join('; ')}, ${b.id}: ${b.logged.join('; ')}`,
    );

  it('carries messages both ways on one stream, though only one side knows the other', async () => {
    const a = await peer('a');
    const b = await peer('b');
    a.transport.setPeers(new Map([['b', b.address]]));
    await meet(a, b);
    a.transport.send('b', heartbeat(1));
    b.transport.send('a', heartbeat(2));
    await eventually(() => a.received.length === 1 && b.received.length === 1);
    expect(a.received).to.deep.equal([{ from: 'b', message: heartbeat(2) }]);
    expect(b.received).to.deep.equal([{ from: 'a', message: heartbeat(1) }]);
  });

  it('keeps one stream when both dial, and says that a peer is away when it ends', async () => {
    const a = await peer('a');
    const b = await peer('b', { limits: { politeMs: 0 } });
    TestPeer.introduce(a, b);
    await meet(a, b);
    for (let i = 0; i < 200; i++) a.transport.send('b', heartbeat(i));
    await eventually(() => b.received.length >= 200);
    expect(b.received.map(({ message }) => message)).to.deep.equal(
      Array.from({ length: 200 }, (_, i) => heartbeat(i)),
    );
    await b.stop();
    await eventually(() => a.unreachable.includes('b') && !a.transport.isReachable('b'));
  });

  it('sends a 12 MB request in pieces while small messages pass it', async () => {
    const a = await peer('a');
    const b = await peer('b');
    TestPeer.introduce(a, b);
    await meet(a, b);
    const data = Buffer.alloc(12 * 1024 * 1024, 'x');
    const large: PeerMessage = {
      kind: 'append-request',
      term: 1,
      prevIndex: 0,
      prevTerm: 0,
      commit: 0,
      entries: [{ kind: 'data', index: 1, term: 1, data }],
    };
    a.transport.send('b', large);
    a.transport.send('b', heartbeat(1));
    await eventually(() => b.received.length === 2);
    expect(b.received.map(({ message }) => message.kind)).to.deep.equal(['heartbeat', 'append-request']);
    expect(b.received[1]?.message).to.deep.equal(large);
  });

  describe('the news of a commit', () => {
    const append = (prevIndex: number, entryCount: number, commit: number): PeerMessage => ({
      kind: 'append-request',
      term: 1,
      prevIndex,
      prevTerm: 1,
      commit,
      entries: Array.from({ length: entryCount }, (_, i) => ({
        kind: 'data' as const,
        index: prevIndex + 1 + i,
        term: 1,
        data: Buffer.from('data'),
      })),
    });
    /** Longer than any test. */
    const never = { newsDelayMs: 600_000 };

    it('travels with the next entries as one request', async () => {
      const a = await peer('a', { limits: never });
      const b = await peer('b');
      TestPeer.introduce(a, b);
      await meet(a, b);
      a.transport.send('b', append(4, 0, 4));
      await new Promise((resolve) => setImmediate(resolve));
      a.transport.send('b', append(4, 2, 4));
      await eventually(() => b.received.length > 0);
      a.transport.send('b', heartbeat(1));
      await eventually(() => b.received.length === 2);
      expect(b.received.map(({ message }) => message)).to.deep.equal([append(4, 2, 4), heartbeat(1)]);
    });

    it('goes by itself when nothing follows', async () => {
      const a = await peer('a');
      const b = await peer('b');
      TestPeer.introduce(a, b);
      await meet(a, b);
      a.transport.send('b', append(4, 0, 4));
      await eventually(() => b.received.length === 1);
    });

    it('goes at once to a peer that has asked for something lately', async () => {
      const a = await peer('a', { limits: never });
      const b = await peer('b');
      TestPeer.introduce(a, b);
      await meet(a, b);
      b.transport.send('a', { kind: 'read-request', term: 1, context: 1 });
      await eventually(() => a.received.length === 1);
      a.transport.send('b', append(4, 0, 4));
      await eventually(() => b.received.length === 1);
    });
  });

  it('drops requests to a peer that reads nothing, and reports it', async () => {
    const valve = new Valve();
    running.push(valve);
    const a = await peer('a', { limits: { outboxBytesMax: 1024 * 1024 } });
    const b = await peer('b', { through: (port) => valve.open(port) });
    a.transport.setPeers(new Map([['b', b.address]]));
    await meet(a, b);
    valve.hold();
    const data = Buffer.alloc(256 * 1024);
    const entries = [{ kind: 'data' as const, index: 1, term: 1, data }];
    const request = {
      kind: 'append-request' as const,
      term: 1,
      prevIndex: 0,
      prevTerm: 0,
      commit: 0,
      entries,
    };
    await eventually(() => {
      a.transport.send('b', request);
      return a.unreachable.includes('b');
    });
  });

  describe('refuses, and says why', () => {
    async function wordsFor(intruder: TestPeer, host: TestPeer): Promise<string> {
      intruder.transport.setPeers(new Map([[host.id, host.address]]));
      await eventually(() => intruder.logged.length > 0);
      expect(host.transport.isReachable(intruder.id)).to.equal(false);
      return intruder.logged[0] ?? '';
    }

    it("a worker's certificate", async () => {
      const host = await peer('a');
      const worker = await peer('b', { credentials: await cluster.credentials('b', 'worker') });
      expect(await wordsFor(worker, host)).to.contain("the certificate is a worker's, only managers may");
    });

    it("another manager's certificate for a member that is not on its node", async () => {
      const holders = { a: 'node-a', b: 'node-b' };
      const host = await peer('a', { credentials: await cluster.credentials('node-a'), holders });
      const foreign = await cluster.credentials('node-c');
      const dialing = await peer('b', { credentials: foreign });
      const words = 'the certificate of node node-c is not the one of member b, which is on node node-b';
      expect(await wordsFor(dialing, host)).to.contain(words);
      // The other way round: whoever is dialed shows who it is, too.
      const answering = await peer('b', { credentials: foreign });
      host.transport.setPeers(new Map([['b', answering.address]]));
      await eventually(() => host.logged.some((line) => line.includes(`raft member b at`)));
      expect(host.logged.join()).to.contain(words);
      expect(host.received).to.deep.equal([]);
      await answering.stop();
      const own = await peer('b', { credentials: await cluster.credentials('node-b') });
      host.transport.setPeers(new Map([['b', own.address]]));
      await meet(host, own);
    });

    it('a certificate of another cluster', async () => {
      const host = await peer('a');
      const foreign = await (await TestCluster.create('other')).credentials('b');
      const words = await wordsFor(await peer('b', { credentials: foreign }), host);
      expect(words).to.match(/certificate/);
      await eventually(() => host.logged.join().includes('refused'));
    });

    it('a manager certificate of this root that names another cluster', async () => {
      const host = await peer('a', {
        credentials: { ...(await cluster.credentials('a')), clusterId: 'another' },
      });
      const words = await wordsFor(await peer('b'), host);
      expect(words).to.contain('the certificate is for another cluster, cluster');
    });

    it('a caller without a certificate', async () => {
      const host = await peer('a');
      const client = createRpcClient(raft.RaftPeerClient, host.address, { kind: 'unverified' });
      const words = await new Promise<string>((resolve) => {
        const stream = client.connect();
        stream.on('error', (error) => resolve(error.message));
        stream.on('data', () => undefined);
      });
      client.close();
      expect(words).to.contain('a manager certificate is required');
    });

    it('another protocol version, another member, a message before the hello', async () => {
      const host = await peer('a');
      const { tls } = await cluster.credentials('b');
      const hello: raft.Hello = {
        protocolVersion: 1,
        clusterId: 'cluster',
        from: 'b',
        to: 'a',
        address: '',
        incarnation: '1',
      };
      const answers: string[] = [];
      for (const body of [
        { $case: 'hello' as const, hello: { ...hello, protocolVersion: 9 } },
        { $case: 'hello' as const, hello: { ...hello, to: 'c' } },
        { $case: 'hello' as const, hello: { ...hello, from: 'a' } },
        { $case: 'hello' as const, hello: { ...hello, clusterId: 'other' } },
        { $case: 'messages' as const, messages: Buffer.alloc(0) },
      ]) {
        const client = createRpcClient(raft.RaftPeerClient, host.address, tls);
        const stream = client.connect();
        answers.push(
          await new Promise<string>((resolve) => {
            stream.on('error', (error) => resolve(error.message));
            stream.on('data', () => undefined);
            stream.write({ body });
          }),
        );
        client.close();
      }
      expect(answers.map((words) => words.replace(/^\d+ \w+: /, ''))).to.deep.equal([
        'raft: the peer speaks protocol version 9, this member speaks 1',
        'raft: this is member a, not c',
        "raft: the peer has this member's own id a",
        'raft: the peer belongs to another cluster, other',
        'raft: a message before the hello',
      ]);
    });

    it('a peer that says nothing', async () => {
      const silent = new Valve();
      running.push(silent);
      silent.hold();
      const a = await peer('a', { limits: { helloTimeoutMs: 200 } });
      a.transport.setPeers(new Map([['b', `127.0.0.1:${await silent.open(1)}`]]));
      await eventually(() => a.logged.length > 0);
      expect(a.logged[0]).to.contain('no hello within 200 ms');
    });
  });

  it('replaces a half-open stream when the peer comes back', async () => {
    const valve = new Valve();
    running.push(valve);
    const a = await peer('a');
    const first = await peer('b', { through: (port) => valve.open(port) });
    a.transport.setPeers(new Map([['b', first.address]]));
    await meet(a, first);
    // From here on nothing passes any more, and nobody says so: the machine is gone.
    valve.hold();
    const second = await peer('b');
    second.transport.setPeers(new Map([['a', a.address]]));
    await eventually(() => second.transport.isReachable('a'));
    a.transport.send('b', heartbeat(5));
    await eventually(() => second.received.length === 1);
  });

  it('opens its streams anew with renewed credentials, without a gap', async () => {
    const a = await peer('a');
    const b = await peer('b');
    TestPeer.introduce(a, b);
    await meet(a, b);
    a.transport.setCredentials(await cluster.credentials('a'));
    for (let i = 0; i < 50; i++) {
      a.transport.send('b', heartbeat(i));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await eventually(() => b.received.length === 50);
    expect(a.unreachable).to.deep.equal([]);
    expect(b.unreachable).to.deep.equal([]);
  });

  describe('snapshots', () => {
    /** Keeps what it took, as a receiver with a disk does, and fails where it is told. */
    class Intake implements SnapshotIntake {
      chunks: Uint8Array[] = [];
      id = '';
      taken = 0;
      failAt = Number.POSITIVE_INFINITY;

      async begin(_from: string, { id }: { id: string }): Promise<number> {
        if (id !== this.id) this.chunks = [];
        this.id = id;
        return this.chunks.length;
      }

      async chunk(_from: string, _number: number, chunk: Uint8Array): Promise<number> {
        if (this.chunks.length === this.failAt) {
          this.failAt = Number.POSITIVE_INFINITY;
          throw new Error('the disk is gone for a moment');
        }
        return this.chunks.push(chunk);
      }

      async end(): Promise<void> {
        this.taken++;
      }
    }

    const chunks = Array.from({ length: 20 }, (_, i) => Buffer.alloc(1 + 150_000 * (i % 3), i));

    async function pair(intake: SnapshotIntake): Promise<[TestPeer, TestPeer]> {
      const a = await peer('a', { limits: { snapshotPieceBytesMax: 64 * 1024 } });
      const b = await peer('b', { snapshots: intake });
      a.transport.setPeers(new Map([['b', b.address]]));
      await meet(a, b);
      return [a, b];
    }

    it('arrive whole, and go on where a broken stream ended', async () => {
      const intake = new Intake();
      const [a] = await pair(intake);
      intake.failAt = 12;
      const error = await a.transport.sendSnapshot('b', memorySnapshot(chunks)).catch((reason) => reason);
      expect(error).to.be.instanceOf(Error);
      expect(intake.taken).to.equal(0);
      const asked: number[] = [];
      const source = memorySnapshot(chunks);
      await a.transport.sendSnapshot('b', {
        ...source,
        read: (number) => {
          asked.push(number);
          return source.read(number);
        },
      });
      expect(asked[0]).to.equal(12);
      expect(intake.taken).to.equal(1);
      expect(Buffer.concat(intake.chunks).equals(Buffer.concat(chunks))).to.equal(true);
    });

    it('end with clear words when the sender may not speak or the stream stands still', async () => {
      const intake = new Intake();
      const [, b] = await pair(intake);
      const worker = await peer('c', { credentials: await cluster.credentials('c', 'worker') });
      worker.transport.setPeers(new Map([['b', b.address]]));
      const refused = await worker.transport
        .sendSnapshot('b', memorySnapshot(chunks))
        .catch((reason: Error) => reason.message);
      expect(refused).to.contain("the certificate is a worker's");
      const stuck = await peer('d', { limits: { snapshotStallMs: 200 } });
      intake.chunk = () => new Promise(() => undefined);
      stuck.transport.setPeers(new Map([['b', b.address]]));
      const stalled = await stuck.transport
        .sendSnapshot('b', memorySnapshot(chunks, 'two'))
        .catch((reason: Error) => reason.message);
      expect(stalled).to.contain('stood still for 200 ms');
    });

    it('leave the receiver when the sender vanishes in the middle', async () => {
      const intake = new Intake();
      const valve = new Valve();
      running.push(valve);
      let ended = false;
      const b = await peer('b', {
        snapshots: intake,
        limits: { snapshotStallMs: 300 },
        through: (port) => valve.open(port),
      });
      const a = await peer('a');
      a.transport.setPeers(new Map([['b', b.address]]));
      await meet(a, b);
      const endless = memorySnapshot(chunks);
      const sending = a.transport
        .sendSnapshot('b', {
          ...endless,
          read: async (number) => {
            if (number === 3) valve.cut();
            await new Promise((resolve) => setImmediate(resolve));
            return Buffer.alloc(10);
          },
        })
        .catch(() => {
          ended = true;
        });
      await sending;
      expect(ended).to.equal(true);
      // The next attempt finds the receiver willing.
      await eventually(() => a.transport.isReachable('b'));
      await a.transport.sendSnapshot('b', memorySnapshot(chunks, 'other'));
      expect(intake.taken).to.equal(1);
    });
  });
});

/** A relay on loopback that can stop passing bytes without ending a connection. */
class Valve {
  private server: Server | undefined;
  private readonly sockets = new Set<Socket>();
  private isHolding = false;

  async open(port: number): Promise<number> {
    this.server = createServer((near) => {
      this.sockets.add(near);
      near.on('error', () => near.destroy());
      if (this.isHolding) return;
      const far = connect(port, '127.0.0.1');
      this.sockets.add(far);
      far.on('error', () => far.destroy());
      near.pipe(far);
      far.pipe(near);
      near.on('close', () => far.destroy());
      far.on('close', () => near.destroy());
    });
    const { server } = this;
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as AddressInfo).port;
  }

  hold(): void {
    this.isHolding = true;
    for (const socket of this.sockets) {
      socket.unpipe();
      socket.pause();
    }
  }

  cut(): void {
    for (const socket of this.sockets) socket.destroy();
    this.sockets.clear();
  }

  async stop(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.server?.close(resolve));
  }
}
