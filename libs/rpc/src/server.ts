/**
 * A gRPC server with one port for callers with and without a certificate. grpc-js can only demand a certificate from
 * everyone or ask nobody, so the TLS side is a node:tls server of our own that asks for a certificate and verifies
 * it when one is given; the verified sockets are handed to grpc-js. Who calls is then a fact of each call
 * (`callerOf`), and every method decides whether it answers a caller without one.
 */
import {
  Server,
  ServerCredentials,
  type ConnectionInjector,
  type ServerUnaryCall,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { AddressInfo } from 'node:net';
import { createServer, type Server as TlsServer, type TLSSocket } from 'node:tls';
import type { ServerTls } from './credentials.js';
import { messageBytesMax } from './client.js';

export interface RpcService {
  definition: ServiceDefinition;
  implementation: UntypedServiceImplementation;
}

export interface RpcServerOptions {
  tls: ServerTls;
  services: readonly RpcService[];
  /** Told of connections that were refused, with the reason. */
  log?: (message: string) => void;
}

/** The subject of the caller's certificate; it was signed by the cluster's root and is valid now. */
export interface CallerSubject {
  CN?: string | string[];
  OU?: string | string[];
  O?: string | string[];
}

const handshakeTimeoutMs = 10_000;
const connectionsMax = 10_000;

/** Undefined for a caller without a certificate. */
export function callerOf(
  call: Pick<ServerUnaryCall<unknown, unknown>, 'getAuthContext'>,
): CallerSubject | undefined {
  return call.getAuthContext().sslPeerCertificate?.subject as CallerSubject | undefined;
}

export class RpcServer {
  readonly #options: RpcServerOptions;
  #grpc: Server | undefined;
  #injector: ConnectionInjector | undefined;
  #tls: TlsServer | undefined;
  readonly #sockets = new Set<TLSSocket>();

  constructor(options: RpcServerOptions) {
    this.#options = options;
  }

  /** Resolves with the port it listens on. */
  async listen(address: { host: string; port: number }): Promise<number> {
    const grpc = new Server({
      'grpc.keepalive_time_ms': 10_000,
      'grpc.keepalive_timeout_ms': 5_000,
      'grpc.max_receive_message_length': messageBytesMax,
      'grpc.max_send_message_length': messageBytesMax,
    });
    for (const { definition, implementation } of this.#options.services) {
      grpc.addService(definition, implementation);
    }
    const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure());
    const tls = createServer({
      ...this.#secureContext(this.#options.tls),
      minVersion: 'TLSv1.3',
      requestCert: true,
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
      handshakeTimeout: handshakeTimeoutMs,
    });
    tls.maxConnections = connectionsMax;
    tls.on('secureConnection', (socket) => this.#accept(socket, injector));
    tls.on('tlsClientError', (error, socket) => {
      this.#options.log?.(`connection from ${socket.remoteAddress ?? 'unknown'} refused: ${error.message}`);
    });
    await new Promise<void>((resolve, reject) => {
      tls.once('error', reject);
      tls.listen(address.port, address.host, () => {
        tls.off('error', reject);
        tls.on('error', (error) => this.#options.log?.(`listener: ${error.message}`));
        resolve();
      });
    });
    this.#grpc = grpc;
    this.#injector = injector;
    this.#tls = tls;
    return (tls.address() as AddressInfo).port;
  }

  /** New connections see the new certificate; open ones keep theirs. */
  replaceCredentials(tls: ServerTls): void {
    this.#tls?.setSecureContext(this.#secureContext(tls));
  }

  /** Ends every connection. */
  async close(): Promise<void> {
    const tls = this.#tls;
    if (!tls) return;
    this.#tls = undefined;
    const closed = new Promise<void>((resolve) => tls.close(() => resolve()));
    this.#injector?.destroy();
    this.#grpc?.forceShutdown();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #secureContext(tls: ServerTls): { cert: string; key: string; ca: string } {
    return { cert: tls.certificatePem, key: tls.keyPem, ca: tls.rootCertificatePem };
  }

  #accept(socket: TLSSocket, injector: ConnectionInjector): void {
    const shown = Object.keys(socket.getPeerCertificate()).length > 0;
    if (shown && !socket.authorized) {
      this.#options.log?.(
        `connection from ${socket.remoteAddress ?? 'unknown'} refused: ${String(socket.authorizationError)}`,
      );
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    injector.injectConnection(socket);
  }
}
