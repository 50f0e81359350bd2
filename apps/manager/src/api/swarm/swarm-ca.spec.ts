/** `docker swarm ca --rotate` as the API sees it. */
import type { Cluster } from '#libs/model';
import { createRootCa, wantedTls, type RootCa } from '#libs/pki';
import { expect } from 'chai';
import { openTestApi, smallCluster, testTimeMs, type TestApi } from '../test-api.js';

interface Swarm {
  Version: { Index: number };
  Spec: { CAConfig?: Record<string, unknown> } & Record<string, unknown>;
  TLSInfo: { TrustRoot: string; CertIssuerPublicKey: string };
  RootRotationInProgress: boolean;
  JoinTokens: { Worker: string };
}

describe('the root of a cluster through the API', () => {
  let api: TestApi;
  let own: RootCa;
  before(async () => {
    own = await createRootCa({ nowMs: testTimeMs });
  });
  beforeEach(async () => {
    api = await openTestApi(await smallCluster());
  });
  afterEach(() => api.close());

  const cluster = (): Readonly<Cluster> => api.store.view().cluster!;
  const inspect = async (): Promise<Swarm> => (await api.call('GET', '/swarm')).body as Swarm;

  /** As the CLI does: it reads the settings, changes them and sends all of them back. */
  async function update(CAConfig: Record<string, unknown>): Promise<{ status: number; message: string }> {
    const { Spec, Version } = await inspect();
    const body = { ...Spec, CAConfig: { ...Spec.CAConfig, ...CAConfig } };
    const answer = await api.call('POST', `/swarm/update?version=${Version.Index}`, body);
    return { status: answer.status, message: (answer.body as { message?: string }).message ?? '' };
  }

  it('is replaced by a new one on demand: it signs at once, and is trusted later', async () => {
    const before = await inspect();
    expect(before.RootRotationInProgress).to.equal(false);
    expect((await update({ ForceRotate: 1 })).status).to.equal(200);
    const during = await inspect();
    const { rootCa, rootRotation } = cluster();
    expect(during).to.deep.include({ RootRotationInProgress: true, JoinTokens: before.JoinTokens });
    expect(during.TLSInfo.TrustRoot).to.equal(before.TLSInfo.TrustRoot);
    expect(during.TLSInfo.CertIssuerPublicKey).to.not.equal(before.TLSInfo.CertIssuerPublicKey);
    expect(during.TLSInfo.CertIssuerPublicKey).to.equal(wantedTls({ rootCa: rootRotation! }).issuerPublicKey);
    expect(during.Spec.CAConfig).to.deep.equal({ ForceRotate: 1 });
    // Settings that are sent back as they were read change nothing.
    expect((await update({})).status).to.equal(200);
    expect([cluster().rootCa, cluster().rootRotation]).to.deep.equal([rootCa, rootRotation]);
    expect((await update({ ForceRotate: 2 })).status).to.equal(200);
    expect(cluster().rootRotation).to.not.deep.equal(rootRotation);
  });

  it("is replaced by the user's own, whose key is shown to nobody; the old one ends that again", async () => {
    const { rootCa } = cluster();
    const given = { SigningCACert: own.certificatePem, SigningCAKey: own.keyPem };
    expect(await update(given)).to.deep.equal({ status: 200, message: '' });
    expect(cluster().rootRotation).to.include({ certificatePem: own.certificatePem });
    expect(JSON.stringify(await inspect()))
      .to.not.contain('PRIVATE KEY')
      .and.not.contain('SigningCA');
    const under = cluster().rootRotation;
    expect((await update(given)).status).to.equal(200);
    expect(cluster().rootRotation).to.deep.equal(under);
    expect(
      (await update({ SigningCACert: rootCa.certificatePem, SigningCAKey: rootCa.keyPem })).status,
    ).to.equal(200);
    expect(cluster()).to.not.have.property('rootRotation');
    expect(cluster().rootCa).to.deep.equal(rootCa);
  });

  it('changes the life of certificates without touching the root', async () => {
    expect((await update({ NodeCertExpiry: 7_200_000_000_000 })).status).to.equal(200);
    expect(cluster()).to.not.have.property('rootRotation');
    const { status, message } = await update({ NodeCertExpiry: 60_000_000_000 });
    expect(status).to.equal(400);
    expect(message).to.contain('NodeCertExpiry');
  });

  const refused: [what: string, config: () => Record<string, unknown>, status: number, words: RegExp][] = [
    [
      'an external CA',
      () => ({ ExternalCAs: [{ Protocol: 'cfssl', URL: 'https://ca.example' }] }),
      501,
      /--external-ca/,
    ],
    [
      'a key without a certificate',
      () => ({ SigningCAKey: own.keyPem }),
      400,
      /SigningCAKey: if a signing CA key/,
    ],
    [
      'a certificate without a key',
      () => ({ SigningCACert: own.certificatePem }),
      400,
      /SigningCAKey: must be given/,
    ],
    [
      'a key of another certificate',
      () => ({ SigningCACert: own.certificatePem, SigningCAKey: cluster().rootCa.keyPem }),
      400,
      /SigningCAKey: it does not fit/,
    ],
    [
      'what is no certificate',
      () => ({ SigningCACert: 'x', SigningCAKey: own.keyPem }),
      400,
      /SigningCACert: must/,
    ],
    ['a counter that is a word', () => ({ ForceRotate: 'yes' }), 400, /ForceRotate/],
  ];
  for (const [what, config, status, words] of refused) {
    it(`refuses ${what}, and changes nothing`, async () => {
      const before = cluster();
      const answer = await update(config());
      expect(answer.status, answer.message).to.equal(status);
      expect(answer.message).to.match(words);
      expect(cluster()).to.equal(before);
    });
  }
});
