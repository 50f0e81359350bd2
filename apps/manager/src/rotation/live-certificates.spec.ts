/** Certificates of running managers and agents: replaced under sessions that go on. */
import type { Change, Cluster } from '#libs/model';
import {
  caHashOf,
  hasIssuer,
  heldTls,
  makeJoinToken,
  makeUnlockKey,
  parseJoinToken,
  readStoredIdentity,
  type StoredIdentity,
  wantedTls,
  writeNodeIdentity,
} from '#libs/pki';
import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { obtainIdentity } from '../../../agent/src/node/identity.js';
import { LiveCluster, until, type LiveAgent } from './live-cluster.js';
import { requestedRoot } from './requested-root.js';

const hourMs = 3_600_000;

describe('certificates of a running cluster', function () {
  this.timeout(30_000);
  let live: LiveCluster;
  let first: LiveAgent;
  let second: LiveAgent;
  let worker: LiveAgent;

  /** Made so many days ago. */
  async function make(daysAgo = 0): Promise<void> {
    live = new LiveCluster();
    live.aheadMs = -daysAgo * 24 * hourMs;
    await live.start();
    first = await live.addFirstAgent();
    second = await live.addAgent('second', 'manager');
    await live.addManager(second, 'r2');
    worker = await live.addAgent('worker');
  }
  async function makeLong(daysAgo: number): Promise<void> {
    await live.stop();
    await make(daysAgo);
  }

  beforeEach(() => make());
  afterEach(() => live.stop());

  const cluster = (): Readonly<Cluster> => live.store.view().cluster!;
  const patch = (fields: Partial<Cluster>): Promise<unknown> =>
    live.store.propose([{ op: 'patch', table: 'clusters', id: cluster().id, fields } as Change]);

  async function rotate(): Promise<void> {
    const asked = await requestedRoot({ ForceRotate: Date.now() }, cluster(), live.nowMs());
    if (asked.kind !== 'rotate') throw new Error('no rotation');
    await patch({ rootRotation: asked.rotation });
  }
  const over = (): boolean => cluster().rootRotation === undefined;
  /** Agents that are there, and both managers, hold what the cluster wants. */
  const allAsWanted = (agents: LiveAgent[]): boolean =>
    [...agents.map(({ keeper }) => keeper.identity), live.tlsOf(0), live.tlsOf(1)].every(
      (pems) => JSON.stringify(heldTls(pems)) === JSON.stringify(wantedTls(cluster())),
    );
  const agents = (): LiveAgent[] => [first, second, worker];
  const unbroken = (agents: LiveAgent[]): void => {
    for (const agent of agents) expect([agent.begun, agent.ended]).to.deep.equal([1, 0]);
  };

  it('get another root, with every session unbroken; tokens name the new one', async () => {
    const before = cluster();
    await rotate();
    await until('the end of the rotation', over);
    await until('the trust of all', () => allAsWanted(agents()));
    unbroken(agents());
    expect(cluster().rootCa.certificatePem).to.not.equal(before.rootCa.certificatePem);
    const { caHash } = parseJoinToken(cluster().joinTokens.worker);
    expect(caHash).to.equal(caHashOf(cluster().rootCa.certificatePem));
    expect(cluster().joinTokens.worker).to.not.equal(before.joinTokens.worker);
    await until('all say so', () =>
      [...live.store.view().nodes.all()].every(
        ({ tls }) => tls?.trustRootPem === cluster().rootCa.certificatePem,
      ),
    );
    // What is on disk is what is held: a start now comes back.
    expect(live.identityOnDisk('worker')).to.deep.equal(worker.keeper.identity);
    const late = await live.addAgent('late');
    expect(late.keeper.identity.rootCertificatePem).to.equal(cluster().rootCa.certificatePem);
  });

  it('wait for a node that is down, over a change of leader, and take it in when it comes back', async () => {
    worker.stop();
    await rotate();
    await until('the others have theirs', () => allAsWanted([first, second]));
    live.lead();
    await until('the others are back', () => first.begun === 2 && second.begun === 2);
    expect(over()).to.equal(false);
    // Whoever joins meanwhile does so by the old token, and trusts the old root.
    const late = await live.addAgent('late');
    expect(hasIssuer(heldTls(late.keeper.identity), wantedTls(cluster()))).to.equal(true);
    expect(over()).to.equal(false);
    const again = await live.addAgent('worker');
    expect(again.id).to.equal(worker.id);
    await until('the end of the rotation', over);
    await until('the trust of all', () => allAsWanted([first, second, late, again]));
  });

  it('do not wait for a node that was removed', async () => {
    worker.stop();
    await rotate();
    await until('the others have theirs', () => allAsWanted([first, second]));
    expect(over()).to.equal(false);
    await live.store.propose([{ op: 'delete', table: 'nodes', id: worker.id }]);
    await until('the end of the rotation', over);
  });

  it('let a node in that was away when the trust changed', async () => {
    await rotate();
    // It has its certificate of the new root, but never heard that the old one is not trusted any more.
    await until('its new certificate', () =>
      hasIssuer(heldTls(worker.keeper.identity), wantedTls(cluster())),
    );
    const stale = worker.keeper.identity;
    await until('the end of the rotation', over);
    await until('the trust of all', () => allAsWanted(agents()));
    worker.stop();
    writeNodeIdentity(`${live.folder}/worker`, stale);
    await live.reissue();
    const again = await live.addAgent('worker');
    await until('its trust', () => allAsWanted([again]));
  });

  it('go back to the old root when the rotation is given up', async () => {
    worker.stop();
    await rotate();
    await until('the others have theirs', () => allAsWanted([first, second]));
    await patch({ rootRotation: undefined } as never);
    await until('the old issuer', () => allAsWanted([first, second]));
    unbroken([first, second]);
  });

  it('go on to a third root where a second rotation begins in the first', async () => {
    worker.stop();
    await rotate();
    await until('the others have theirs', () => allAsWanted([first, second]));
    await rotate();
    const again = await live.addAgent('worker');
    await until('the end of the rotation', over);
    await until('the trust of all', () => allAsWanted([first, second, again]));
    unbroken([first, second]);
  });

  it("have keys that are sealed on a manager's disk while managers lock themselves, and only there", async () => {
    const unlockKey = makeUnlockKey(randomBytes(32));
    const lay = readFileSync(`${live.folder}/second/certificates/node-identity.pem`, 'utf8');
    await patch({ unlockKey });
    const text = (): string => readFileSync(`${live.folder}/second/certificates/node-identity.pem`, 'utf8');
    // A key that lay there in the open is not the one that is kept.
    await until('another key, sealed', () => second.renewals === 1 && text().includes('ENCRYPTED'));
    expect(text()).to.not.contain('BEGIN PRIVATE KEY');
    expect(second.keeper.identity.keyPem).to.not.equal(/-----BEGIN PRIVATE[^]+?KEY-----\n/.exec(lay)?.[0]);
    const sealed = (): StoredIdentity & { kind: 'sealed' } => {
      const stored = readStoredIdentity(`${live.folder}/second`);
      if (stored?.kind !== 'sealed') throw new Error('it lies open');
      return stored;
    };
    expect(sealed().open(unlockKey)).to.deep.equal(second.keeper.identity);
    expect(sealed().facts.identity).to.deep.equal(second.keeper.identity.identity);
    expect(() => sealed().open(makeUnlockKey(randomBytes(32)))).to.throw('sealed with another unlock key');
    expect(live.identityOnDisk('worker')).to.deep.equal(worker.keeper.identity);
    const another = makeUnlockKey(randomBytes(32));
    await patch({ unlockKey: another });
    await until('sealed with another', () => {
      try {
        return sealed().open(another).keyPem === second.keeper.identity.keyPem;
      } catch {
        return false;
      }
    });
    await patch({ unlockKey: '' });
    await until('open again', () => !text().includes('ENCRYPTED'));
    unbroken(agents());
  });

  it('are renewed in time by agents and managers, with every session unbroken', async () => {
    // TLS has the machine's own clock: what is issued in the past is to be valid now.
    await makeLong(60);
    const before = [live.tlsOf(0), live.tlsOf(1)].map(({ certificatePem }) => certificatePem);
    await patch({ spec: { ...cluster().spec, CAConfig: { NodeCertExpiry: 2 * hourMs * 1_000_000 } } });
    const renewed = async (times: number, was: string[]): Promise<string[]> => {
      await until(`agents renew, ${times}`, () => agents().every(({ renewals }) => renewals === times));
      const pems = (): string[] => [live.tlsOf(0), live.tlsOf(1)].map(({ certificatePem }) => certificatePem);
      await until(`managers renew, ${times}`, () => pems().every((pem, manager) => pem !== was[manager]));
      return pems();
    };
    live.aheadMs = -1.5 * hourMs;
    const between = await renewed(1, before);
    live.aheadMs = 0;
    await renewed(2, between);
    unbroken(agents());
    // New sessions begin with them, too.
    live.lead();
    await until('all are back', () => agents().every(({ begun }) => begun === 2));
  });

  it('of a node that was off past its end: by a fresh token it joins again, by an old one it hears what to do', async () => {
    await makeLong(60);
    live.aheadMs = -91 * 24 * hourMs;
    const old = live.identityOptions('asleep');
    const { identity } = await obtainIdentity(old, AbortSignal.timeout(10_000));
    live.aheadMs = 0;
    const { worker: before, manager } = cluster().joinTokens;
    const fresh = makeJoinToken(cluster().rootCa.certificatePem, randomBytes(16));
    await patch({ joinTokens: { worker: fresh, manager } });
    expect((old.config.membership as { token: string }).token).to.equal(before);
    const refused = await obtainIdentity(old, AbortSignal.timeout(10_000)).then(
      () => '',
      (error: Error) => error.message,
    );
    expect(refused).to.match(/expired at .*"docker swarm leave" here and join again with a fresh token/);
    const again = await live.addAgent('asleep');
    expect(again.id).to.not.equal(identity.nodeId);
    expect(again.keeper.identity.notAfterMs).to.be.greaterThan(Date.now());
  });
});
