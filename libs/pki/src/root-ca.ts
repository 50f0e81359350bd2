import { X509Certificate } from 'node:crypto';
import { generateKeys, loadX509, privateKeyToPem, randomSerialNumber, signingAlgorithm } from './x509.js';

export interface RootCa {
  certificatePem: string;
  keyPem: string;
}

export const rootCaLifeYears = 20;
/** Clocks of nodes differ; a certificate is valid from a little before it was made. */
export const backdateMs = 3_600_000;

/** Makes the cluster's own certificate authority: CN `swarm-ca`, P-256, 20 years, as SwarmKit's. */
export async function createRootCa(options: { nowMs: number }): Promise<RootCa> {
  const keys = await generateKeys();
  const notAfter = new Date(options.nowMs);
  notAfter.setUTCFullYear(notAfter.getUTCFullYear() + rootCaLifeYears);
  const x509 = await loadX509();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: randomSerialNumber(),
    name: [{ CN: ['swarm-ca'] }],
    notBefore: new Date(options.nowMs - backdateMs),
    notAfter,
    signingAlgorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 1, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return {
    certificatePem: `${certificate.toString('pem')}\n`,
    keyPem: await privateKeyToPem(keys.privateKey),
  };
}

/** The certificate's DER bytes: what its hash in join tokens is taken of. */
export function certificateDer(certificatePem: string): Buffer {
  return new X509Certificate(certificatePem).raw;
}
