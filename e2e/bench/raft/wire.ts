/**
 * The bench's client and the front of our members: unary gRPC calls by the lean code of `libs/rpc`, without TLS, as
 * etcd's front is used here. One client loads both sides; the less of the machine it takes for itself, the more of
 * what is measured is theirs.
 */
import { connect, createServer, type Server } from 'node:net';
import { GrpcClient, type GrpcMethods, serveGrpc } from '#libs/rpc';

export function createKvServer(methods: GrpcMethods): Server {
  return createServer({ noDelay: true }, (socket) => void serveGrpc(socket, methods));
}

/** `target` is host:port. */
export function connectTo(target: string): GrpcClient {
  const [host, port] = target.split(':');
  const socket = connect({ host, port: Number(port), noDelay: true });
  return new GrpcClient(socket, { scheme: 'http', authority: target });
}
