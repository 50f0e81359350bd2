import { EnxameError, type ClusterId, type NodeId } from '#libs/model';
import { expect } from 'chai';
import { X509Certificate, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  caHashOf,
  certificateLifeMsDefault,
  checkCertificateRequest,
  createCertificateRequest,
  createRootCa,
  issueNodeCertificate,
  makeJoinToken,
  parseJoinToken,
  readNodeIdentity,
  readPendingKey,
  RenewalTimer,
  renewalTimeMs,
  roleOfToken,
  type RootCa,
  verifyNodeCertificate,
  verifyRootCertificate,
  writeNodeIdentity,
  writePendingKey,
} from './index.js';

const nowMs = Date.UTC(2030, 0, 15, 12);
const identity = {
  nodeId: 'n'.repeat(25) as NodeId,
  clusterId: 'c'.repeat(25) as ClusterId,
  role: 'worker' as const,
};

function messageOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    expect(error).to.be.instanceOf(EnxameError);
    return (error as Error).message;
  }
  throw new Error('expected an error');
}

describe('pki', () => {
  let ca: RootCa;
  before(async () => {
    ca = await createRootCa({ nowMs });
  });

  it('makes a root of 20 years that signs certificates', () => {
    const certificate = new X509Certificate(ca.certificatePem);
    expect(certificate.subject).to.equal('CN=swarm-ca');
    expect(certificate.ca).to.equal(true);
    expect(new Date(certificate.validTo).getUTCFullYear()).to.equal(2050);
  });

  it('issues, verifies and refuses node certificates', async () => {
    const { requestPem } = await createCertificateRequest();
    const request = await checkCertificateRequest(requestPem);
    const certificatePem = await issueNodeCertificate({ ca, request, identity, nowMs });
    const facts = verifyNodeCertificate({ certificatePem, rootCertificatePem: ca.certificatePem, nowMs });
    expect(facts).to.deep.equal({
      identity,
      notBeforeMs: nowMs - 3_600_000,
      notAfterMs: nowMs + certificateLifeMsDefault,
    });
    expect(new X509Certificate(certificatePem).subjectAltName).to.equal(
      `DNS:${identity.nodeId}, DNS:swarm-worker`,
    );
    const other = await createRootCa({ nowMs });
    const check = (rootCertificatePem: string, atMs: number) => () =>
      verifyNodeCertificate({ certificatePem, rootCertificatePem, nowMs: atMs });
    expect(messageOf(check(other.certificatePem, nowMs))).to.contain('not signed by');
    expect(messageOf(check(ca.certificatePem, nowMs + certificateLifeMsDefault + 1000))).to.contain(
      'expired',
    );
    expect(messageOf(check(ca.certificatePem, nowMs - 3_601_000))).to.contain('not valid before');
  });

  it('knows a key again by its request', async () => {
    const first = await createCertificateRequest();
    const again = await createCertificateRequest(first.keyPem);
    const prints = await Promise.all([
      checkCertificateRequest(first.requestPem),
      checkCertificateRequest(again.requestPem),
    ]);
    expect(prints[0].fingerprint.equals(prints[1].fingerprint)).to.equal(true);
  });

  it('refuses requests that are damaged', async () => {
    const { requestPem } = await createCertificateRequest();
    const body = Buffer.from(requestPem.replace(/-----[^-]+-----/g, '').replace(/\s/g, ''), 'base64');
    body[body.length - 5] = (body[body.length - 5] ?? 0) ^ 1;
    const forged = `-----BEGIN CERTIFICATE REQUEST-----\n${body.toString('base64')}\n-----END CERTIFICATE REQUEST-----`;
    for (const bad of [forged, 'nothing', '', 'x'.repeat(20_000)]) {
      const error = await checkCertificateRequest(bad).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error, bad.slice(0, 20)).to.be.instanceOf(EnxameError).with.property('code', 'invalid-argument');
    }
  });

  it('makes tokens that name the cluster and the role', async () => {
    const worker = makeJoinToken(ca.certificatePem, randomBytes(16));
    const manager = makeJoinToken(ca.certificatePem, randomBytes(16));
    expect(worker).to.match(/^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
    expect(parseJoinToken(` ${worker}\n`).caHash).to.equal(caHashOf(ca.certificatePem));
    expect(roleOfToken(worker, { worker, manager })).to.equal('worker');
    expect(roleOfToken(manager, { worker, manager })).to.equal('manager');
    expect(roleOfToken(`${worker.slice(0, -1)}_`, { worker, manager })).to.equal(undefined);
    verifyRootCertificate(parseJoinToken(worker), ca.certificatePem);
    const other = await createRootCa({ nowMs });
    expect(messageOf(() => verifyRootCertificate(parseJoinToken(worker), other.certificatePem))).to.contain(
      'does not match the fingerprint',
    );
  });

  const hash = 'a'.repeat(50);
  const secret = 'b'.repeat(25);
  const badTokens: [string, string][] = [
    ['', 'it must begin with SWMTKN-1-'],
    ['hello', 'it must begin with SWMTKN-1-'],
    ['SWMKEY-1-abc', 'this is an unlock key (SWMKEY), not a join token (SWMTKN)'],
    [`SWMTKN-2-${hash}-${secret}`, 'version "2" is not known, only 1 is'],
    [`SWMTKN-1-${hash}`, 'it must have four parts separated by dashes'],
    [`SWMTKN-1-${hash}-${secret}-x`, 'it must have four parts separated by dashes'],
    [`SWMTKN-1-${hash}x-${secret}`, 'the third part must be 50 characters of 0-9 and a-z'],
    [`SWMTKN-1-${hash}-${secret.slice(1)}`, 'the last part must be 25 characters of 0-9 and a-z'],
    [`SWMTKN-1-${hash}-${'B'.repeat(25)}`, 'the last part must be 25 characters of 0-9 and a-z'],
  ];
  for (const [token, rule] of badTokens) {
    it(`refuses the token ${JSON.stringify(token.slice(0, 14))}: ${rule}`, () => {
      expect(messageOf(() => parseJoinToken(token))).to.equal(`invalid join token: ${rule}`);
    });
  }

  it('renews at 50 to 80 percent of the life', () => {
    const life = { notBeforeMs: 1000, notAfterMs: 11_000 };
    expect([0, 0.5, 1].map((random) => renewalTimeMs({ ...life, random }))).to.deep.equal([6000, 7500, 9000]);
  });

  it('renews a machine that slept over the time, or whose clock was set, and once', async () => {
    let now = 0;
    let renewals = 0;
    const timer = new RenewalTimer({
      nowMs: () => now,
      fraction: () => 0.5,
      renew: () => renewals++,
      lookIntervalMs: 1,
    });
    timer.follow({ notBeforeMs: 0, notAfterMs: 1000 });
    const looked = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));
    now = 649;
    await looked();
    expect(renewals).to.equal(0);
    now = 990;
    await looked();
    expect(renewals).to.equal(1);
    timer.follow({ notBeforeMs: 990, notAfterMs: 1990 });
    now = 5000;
    timer.look();
    timer.look();
    timer.stop();
    expect(renewals).to.equal(2);
  });

  it('keeps the identity in one private file and sees damage', async () => {
    const stateDir = mkdtempSync(join(tmpdir(), 'enxame-pki-'));
    try {
      expect(readNodeIdentity(stateDir)).to.equal(undefined);
      const { keyPem, requestPem } = await createCertificateRequest();
      writePendingKey(stateDir, keyPem);
      expect(readPendingKey(stateDir)).to.equal(keyPem);
      const request = await checkCertificateRequest(requestPem);
      const certificatePem = await issueNodeCertificate({ ca, request, identity, nowMs });
      const written = writeNodeIdentity(stateDir, {
        keyPem,
        certificatePem,
        rootCertificatePem: ca.certificatePem,
      });
      expect(readNodeIdentity(stateDir)).to.deep.equal(written);
      expect(readPendingKey(stateDir)).to.equal(undefined);
      const file = join(stateDir, 'certificates/node-identity.pem');
      expect(statSync(file).mode & 0o777).to.equal(0o600);
      const foreign = await createCertificateRequest();
      expect(
        messageOf(() =>
          writeNodeIdentity(stateDir, {
            keyPem: foreign.keyPem,
            certificatePem,
            rootCertificatePem: ca.certificatePem,
          }),
        ),
      ).to.contain('not a node identity');
      writeFileSync(file, readFileSync(file, 'utf8').slice(0, 300));
      expect(messageOf(() => readNodeIdentity(stateDir))).to.contain(file);
    } finally {
      rmSync(stateDir, { recursive: true });
    }
  });
});
