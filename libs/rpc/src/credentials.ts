/** Every client and server says who it is and whom it trusts: there is no default and no plain-text transport. */
import { ChannelCredentials, type ChannelOptions } from '@grpc/grpc-js';

export interface ServerTls {
  certificatePem: string;
  keyPem: string;
  /** Root of the certificates that callers present. */
  rootCertificatePem: string;
}

export type ClientTls =
  /** Both sides show certificates of the cluster. */
  | {
      kind: 'mutual';
      certificatePem: string;
      keyPem: string;
      rootCertificatePem: string;
      /** The name the other side's certificate must carry. */
      serverName: string;
    }
  /** The caller has no certificate yet but knows the root. */
  | { kind: 'server-only'; rootCertificatePem: string; serverName: string }
  /** Only to fetch the root certificate, which the caller then checks against the hash in its join token. */
  | { kind: 'unverified' };

export function channelCredentials(tls: ClientTls): {
  credentials: ChannelCredentials;
  options: ChannelOptions;
} {
  switch (tls.kind) {
    case 'mutual':
      return {
        credentials: ChannelCredentials.createSsl(
          Buffer.from(tls.rootCertificatePem),
          Buffer.from(tls.keyPem),
          Buffer.from(tls.certificatePem),
        ),
        options: { 'grpc.ssl_target_name_override': tls.serverName },
      };
    case 'server-only':
      return {
        credentials: ChannelCredentials.createSsl(Buffer.from(tls.rootCertificatePem)),
        options: { 'grpc.ssl_target_name_override': tls.serverName },
      };
    case 'unverified':
      return {
        credentials: ChannelCredentials.createSsl(null, null, null, { rejectUnauthorized: false }),
        // Names go unchecked here; without one the host's address would be sent, which RFC 6066 forbids.
        options: { 'grpc.ssl_target_name_override': 'swarm-manager' },
      };
  }
}
