/** What the user's settings ask of the cluster's root, in Docker's words (`docker swarm ca --rotate`). */
import { EnxameError, type Cluster, type SwarmSpec } from '#libs/model';
import { checkRootCa, createRootCa, crossSign, type RootCa } from '#libs/pki';

/** Docker's CAConfig as it is sent; certificate and key are never kept in the spec, nor shown. */
export interface SentCaConfig {
  NodeCertExpiry?: number;
  ExternalCAs?: unknown[] | null;
  SigningCACert?: string;
  SigningCAKey?: string;
  ForceRotate?: number;
}

export type RootRequest =
  | { kind: 'stay' }
  /** Also where another rotation is under way: its root gives way to this one. */
  | { kind: 'rotate'; rotation: NonNullable<Cluster['rootRotation']> }
  /** Back to the root that everybody trusts still. */
  | { kind: 'abort' };

/** `invalid-argument` and `not-implemented` name the field. */
export async function requestedRoot(
  sent: SentCaConfig | undefined,
  cluster: Pick<Cluster, 'spec' | 'rootCa' | 'rootRotation'>,
  nowMs: number,
): Promise<RootRequest> {
  const { ExternalCAs, SigningCACert = '', SigningCAKey = '', ForceRotate = 0 } = sent ?? {};
  if (ExternalCAs && ExternalCAs.length > 0) {
    throw new EnxameError(
      'not-implemented',
      'external certificate authorities (CAConfig.ExternalCAs, --external-ca): not implemented yet',
    );
  }
  if (SigningCAKey !== '' && SigningCACert === '') {
    throw new EnxameError(
      'invalid-argument',
      'invalid CAConfig.SigningCAKey: if a signing CA key is provided, the signing CA cert must also be provided',
    );
  }
  if (SigningCACert === '') {
    if (ForceRotate === (cluster.spec.CAConfig?.ForceRotate ?? 0)) return { kind: 'stay' };
    return rotateTo(await createRootCa({ nowMs }), cluster.rootCa, nowMs);
  }
  if (SigningCAKey === '') {
    throw new EnxameError(
      'invalid-argument',
      'invalid CAConfig.SigningCAKey: must be given with SigningCACert: the managers sign with it',
    );
  }
  const root = await checkRootCa({ certificatePem: SigningCACert, keyPem: SigningCAKey, nowMs });
  if (root.certificatePem === cluster.rootRotation?.certificatePem) return { kind: 'stay' };
  if (root.certificatePem === cluster.rootCa.certificatePem) {
    return cluster.rootRotation === undefined ? { kind: 'stay' } : { kind: 'abort' };
  }
  return rotateTo(root, cluster.rootCa, nowMs);
}

async function rotateTo(root: RootCa, by: RootCa, nowMs: number): Promise<RootRequest> {
  return {
    kind: 'rotate',
    rotation: { ...root, crossSignedPem: await crossSign({ by, root, nowMs }) },
  };
}

/** The settings as they are stored: the key is in the cluster's root, and whoever reads settings may send them back. */
export function withoutSigningCa(spec: SwarmSpec & { CAConfig?: SentCaConfig }): SwarmSpec {
  if (spec.CAConfig === undefined) return spec;
  const { SigningCACert: _certificate, SigningCAKey: _key, ExternalCAs: _none, ...CAConfig } = spec.CAConfig;
  return { ...spec, CAConfig };
}
