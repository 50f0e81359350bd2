/** Docker's TLSInfo: a trusted root certificate, and who issues, by subject and public key. */
import type { HeldTls } from '#libs/model';

export function presentTls(tls: HeldTls | undefined): Record<string, unknown> {
  if (tls === undefined) return {};
  return {
    TrustRoot: tls.trustRootPem,
    CertIssuerSubject: tls.issuerSubject,
    CertIssuerPublicKey: tls.issuerPublicKey,
  };
}
