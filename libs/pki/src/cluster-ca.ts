/** Who signs in a cluster now, and what its nodes are to hold: two roots count while one replaces the other. */
import type { Cluster, HeldTls } from '#libs/model';
import { issuerFacts } from './certificate-chain.js';
import type { RootCa } from './root-ca.js';

type ClusterCa = Pick<Cluster, 'rootCa' | 'rootRotation'>;

/** The root that nodes trust stays the old one until every certificate comes from the new one. */
export function signingCa({ rootCa, rootRotation }: ClusterCa): RootCa {
  return rootRotation ?? rootCa;
}

/** By object: those of the store never change, and every node is compared with it. */
const wanted = new WeakMap<ClusterCa, HeldTls>();

/** What every node of the cluster is to hold. */
export function wantedTls(cluster: Readonly<ClusterCa>): HeldTls {
  let found = wanted.get(cluster);
  if (found === undefined) {
    const issuer = issuerFacts(signingCa(cluster).certificatePem);
    found = { trustRootPem: cluster.rootCa.certificatePem, ...issuer };
    wanted.set(cluster, found);
  }
  return found;
}

export function hasIssuer(held: HeldTls | undefined, wanted: HeldTls): boolean {
  return held?.issuerPublicKey === wanted.issuerPublicKey && held.issuerSubject === wanted.issuerSubject;
}
