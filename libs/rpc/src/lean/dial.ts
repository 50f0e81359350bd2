/** Lean gRPC between nodes: over mutual TLS, on the port of the other gRPC services. */
import { connect } from 'node:tls';
import type { ClientTls } from '../credentials.js';
import { GrpcClient } from './grpc-client.js';
import type { GrpcLimits } from './messages.js';

/** By this name in the TLS handshake (ALPN, RFC 7301) a server knows which code is to take the connection. */
export const leanProtocol = 'enxame-h2';

export interface Dialed {
  client: GrpcClient;
  /** Of the certificate that the other side has shown, which was verified unless nothing was to be. */
  serverSubject(): Record<string, unknown> | undefined;
}

/** One connection; `target` is host:port. What fails fails its calls. */
export function dialLean(
  target: string,
  tls: ClientTls,
  options: { limits?: GrpcLimits; closed?: (error: Error | undefined) => void } = {},
): Dialed {
  const portAt = target.lastIndexOf(':');
  const socket = connect({
    host: target.slice(0, portAt).replace(/^\[(.*)\]$/, '$1'),
    port: Number(target.slice(portAt + 1)),
    ALPNProtocols: [leanProtocol],
    minVersion: 'TLSv1.3',
    ...identityOf(tls),
  });
  socket.setNoDelay(true);
  return {
    client: new GrpcClient(socket, { scheme: 'https', authority: target, ...options }),
    serverSubject: () =>
      socket.getPeerCertificate().subject as unknown as Record<string, unknown> | undefined,
  };
}

function identityOf(tls: ClientTls) {
  switch (tls.kind) {
    case 'mutual':
      return {
        cert: tls.certificatePem,
        key: tls.keyPem,
        ca: tls.rootCertificatePem,
        servername: tls.serverName,
      };
    case 'server-only':
      return { ca: tls.rootCertificatePem, servername: tls.serverName };
    case 'unverified':
      return { rejectUnauthorized: false };
  }
}
