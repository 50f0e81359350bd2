import { EnxameError, type ClusterId, type HeldTls, type NodeId } from '#libs/model';
import { expect } from 'chai';
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  webcrypto,
  X509Certificate,
} from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createServer } from 'node:tls';
import {
  checkCertificateRequest,
  checkRootCa,
  createCertificateRequest,
  createRootCa,
  crossSign,
  hasIssuer,
  heldTls,
  issueNodeCertificate,
  readNodeIdentity,
  verifyNodeCertificate,
  wantedTls,
  writeNodeIdentity,
  type RootCa,
} from './index.js';
import { loadX509, type X509 } from './x509.js';

const nowMs = Date.now();
const yearMs = 365 * 24 * 3_600_000;

interface Pems {
  keyPem: string;
  certificatePem: string;
}

async function nodeOf(ca: RootCa): Promise<Pems> {
  const { keyPem, requestPem } = await createCertificateRequest();
  const request = await checkCertificateRequest(requestPem);
  const identity = {
    nodeId: 'n'.repeat(25) as NodeId,
    clusterId: 'c'.repeat(25) as ClusterId,
    role: 'worker' as const,
  };
  return { keyPem, certificatePem: await issueNodeCertificate({ ca, request, identity, nowMs }) };
}

type KeyKind = { type: 'ec'; curve: string } | { type: 'rsa'; bits: number };

/** A root as its user might make it, with any tool. */
async function ownRoot(
  kind: KeyKind,
  options: { days?: number; extensions?: (x509: typeof X509) => X509.Extension[] } = {},
): Promise<RootCa> {
  const x509 = await loadX509();
  const keyPem =
    kind.type === 'ec'
      ? generateKeyPairSync('ec', { namedCurve: kind.curve }).privateKey.export({
          type: 'sec1',
          format: 'pem',
        })
      : generateKeyPairSync('rsa', { modulusLength: kind.bits }).privateKey.export({
          type: 'pkcs1',
          format: 'pem',
        });
  const algorithm =
    kind.type === 'ec'
      ? { name: 'ECDSA', namedCurve: kind.curve, hash: 'SHA-256' }
      : { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
  const { subtle } = webcrypto;
  const pkcs8 = createPrivateKey(keyPem).export({ type: 'pkcs8', format: 'der' });
  const spki = createPublicKey(keyPem).export({ type: 'spki', format: 'der' });
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: [{ CN: ['my own root'] }],
    notBefore: new Date(nowMs - 1000),
    notAfter: new Date(nowMs + (options.days ?? 3650) * 24 * 3_600_000),
    signingAlgorithm: algorithm,
    keys: {
      privateKey: await subtle.importKey('pkcs8', pkcs8, algorithm, true, ['sign']),
      publicKey: await subtle.importKey('spki', spki, algorithm, true, ['verify']),
    },
    extensions: options.extensions?.(x509) ?? [new x509.BasicConstraintsExtension(true, undefined, true)],
  });
  return { certificatePem: certificate.toString('pem'), keyPem: keyPem as string };
}

/** Whether a client that trusts `clientRoot` and a server that trusts `serverRoot` speak with each other. */
async function meet(
  server: Pems & { root: string },
  client: Pems & { root: string },
): Promise<'both verified' | string> {
  const listener = createServer({
    key: server.keyPem,
    cert: server.certificatePem,
    ca: server.root,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  try {
    return await new Promise<string>((resolve) => {
      listener.on('secureConnection', (socket) => socket.end('both verified'));
      const socket = connect({
        host: '127.0.0.1',
        port: (listener.address() as AddressInfo).port,
        key: client.keyPem,
        cert: client.certificatePem,
        ca: client.root,
        servername: 'swarm-worker',
      });
      socket.on('data', (data) => {
        resolve(String(data));
        socket.destroy();
      });
      socket.on('error', (error) => resolve(error.message));
      socket.on('close', () => resolve('closed'));
    });
  } finally {
    listener.close();
  }
}

describe('pki: a root that replaces another', function () {
  this.timeout(20_000);
  let old: RootCa;
  let next: Required<RootCa>;

  before(async () => {
    old = await createRootCa({ nowMs });
    const root = await createRootCa({ nowMs });
    next = { ...root, crossSignedPem: await crossSign({ by: old, root, nowMs }) };
  });

  it('signs certificates that whoever trusts either root verifies, in both directions', async () => {
    const [before, during] = [await nodeOf(old), await nodeOf(next)];
    const outcomes: string[] = [];
    for (const [server, serverRoot, client, clientRoot] of [
      [before, old, during, old],
      [during, old, before, old],
      [during, old, during, next],
      [during, next, during, old],
      [during, next, during, next],
      [during, next, before, old],
    ] as const) {
      const root = (ca: RootCa): string => ca.certificatePem;
      outcomes.push(await meet({ ...server, root: root(serverRoot) }, { ...client, root: root(clientRoot) }));
    }
    expect(outcomes.slice(0, 5)).to.deep.equal(Array.from({ length: 5 }, () => 'both verified'));
    // Whoever trusts the new root alone has no more to do with certificates of the old one.
    expect(outcomes[5]).to.not.equal('both verified');
    const verify = (pems: Pems, ca: RootCa) =>
      verifyNodeCertificate({ ...pems, rootCertificatePem: ca.certificatePem, nowMs }).identity.role;
    expect([verify(during, old), verify(during, next), verify(before, old)]).to.deep.equal(
      Array.from({ length: 3 }, () => 'worker'),
    );
    expect(() => verify(before, next)).to.throw(EnxameError, 'not signed by');
  });

  it('is what nodes are to hold; the trust changes last', async () => {
    const during = { rootCa: old, rootRotation: next };
    const held = (pems: Pems, root: RootCa): HeldTls =>
      heldTls({ ...pems, rootCertificatePem: root.certificatePem });
    const [first, second] = [await nodeOf(old), await nodeOf(next)];
    expect(wantedTls({ rootCa: old })).to.deep.equal(held(first, old));
    expect(wantedTls(during)).to.deep.equal(held(second, old));
    expect(wantedTls({ rootCa: next })).to.deep.equal(held(second, next));
    expect(hasIssuer(held(first, old), wantedTls(during))).to.equal(false);
    expect(hasIssuer(held(second, old), wantedTls({ rootCa: next }))).to.equal(true);
    expect(hasIssuer(undefined, wantedTls(during))).to.equal(false);
  });

  it('is kept with the chain in the identity on disk', async () => {
    const stateDir = mkdtempSync(join(tmpdir(), 'enxame-pki-'));
    try {
      const pems = await nodeOf(next);
      for (const root of [old, next]) {
        const written = writeNodeIdentity(stateDir, { ...pems, rootCertificatePem: root.certificatePem });
        expect(readNodeIdentity(stateDir)).to.deep.equal(written);
      }
      expect(() =>
        writeNodeIdentity(stateDir, { ...pems, rootCertificatePem: next.crossSignedPem }),
      ).to.not.throw();
    } finally {
      rmSync(stateDir, { recursive: true });
    }
  });

  for (const kind of [
    { type: 'ec', curve: 'P-256' },
    { type: 'ec', curve: 'P-384' },
    { type: 'rsa', bits: 2048 },
  ] as const) {
    it(`may be the user's own, ${JSON.stringify(kind)}, and be replaced in turn`, async () => {
      const given = await ownRoot(kind);
      const own = await checkRootCa({ ...given, nowMs });
      const second = { ...own, crossSignedPem: await crossSign({ by: old, root: own, nowMs }) };
      const pems = await nodeOf(second);
      const root = old.certificatePem;
      expect(await meet({ ...pems, root }, { ...pems, root: own.certificatePem })).to.equal('both verified');
      const third = { ...next, crossSignedPem: await crossSign({ by: own, root: next, nowMs }) };
      const last = await nodeOf(third);
      expect(
        await meet({ ...last, root: own.certificatePem }, { ...pems, root: own.certificatePem }),
      ).to.equal('both verified');
    });
  }

  describe('is refused', () => {
    async function wordsFor(certificatePem: string, keyPem: string): Promise<string> {
      const error = await checkRootCa({ certificatePem, keyPem, nowMs }).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error).to.be.instanceOf(EnxameError).with.property('code', 'invalid-argument');
      return (error as Error).message;
    }
    const p256 = { type: 'ec', curve: 'P-256' } as const;

    it('where there is no certificate, or more than one, or a damaged one', async () => {
      expect(await wordsFor('hello', old.keyPem)).to.contain('SigningCACert: must hold one PEM certificate');
      expect(await wordsFor(old.certificatePem + next.certificatePem, old.keyPem)).to.contain('it holds 2');
      const cut = old.certificatePem.replace(/\n.{40}/, '\n');
      expect(await wordsFor(cut, old.keyPem)).to.equal('invalid CAConfig.SigningCACert: it cannot be read');
    });

    it('where it is no CA, allows none below it, may not sign, or is not self-signed', async () => {
      const { certificatePem, keyPem } = await nodeOf(old);
      expect(await wordsFor(certificatePem, keyPem)).to.contain('not a certificate of a CA');
      const dead = await ownRoot(p256, {
        extensions: (x) => [new x.BasicConstraintsExtension(true, 0, true)],
      });
      expect(await wordsFor(dead.certificatePem, dead.keyPem)).to.contain('pathlen 0');
      const mute = await ownRoot(p256, {
        extensions: (x) => [
          new x.BasicConstraintsExtension(true, 1, true),
          new x.KeyUsagesExtension(x.KeyUsageFlags.digitalSignature, true),
        ],
      });
      expect(await wordsFor(mute.certificatePem, mute.keyPem)).to.contain('keyUsage');
      const middle = await crossSign({ by: old, root: next, nowMs });
      expect(await wordsFor(middle, next.keyPem)).to.match(/pathlen 0|not self-signed/);
    });

    it('where it ends within a year', async () => {
      const short = await ownRoot(p256, { days: 360 });
      expect(await wordsFor(short.certificatePem, short.keyPem)).to.contain('it expires too soon');
      expect(Date.parse(new X509Certificate(old.certificatePem).validTo)).to.be.greaterThan(nowMs + yearMs);
    });

    it("where the key is none, another one's, weak or of another kind; the key is never repeated", async () => {
      const words = [
        await wordsFor(old.certificatePem, 'hello'),
        await wordsFor(old.certificatePem, next.keyPem),
        await ownRoot({ type: 'rsa', bits: 1024 }).then((weak) => wordsFor(weak.certificatePem, weak.keyPem)),
      ];
      expect(words).to.deep.equal([
        'invalid CAConfig.SigningCAKey: it cannot be read as an unencrypted PEM key',
        'invalid CAConfig.SigningCAKey: it does not fit the certificate',
        'invalid CAConfig.SigningCAKey: must be ECDSA (P-256, P-384, P-521) or RSA of 2048 bits or more',
      ]);
    });
  });
});
