import {
  type ChannelCredentials,
  type ChannelOptions,
  type Client,
  type ClientOptions,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import { channelCredentials, type ClientTls } from './credentials.js';
import { fromServiceError } from './errors.js';

export const messageBytesMax = 16 * 1024 * 1024;

const channelOptions: ChannelOptions = {
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.max_receive_message_length': messageBytesMax,
  'grpc.max_send_message_length': messageBytesMax,
  // A node's own proxy settings are meant for the outside world.
  'grpc.enable_http_proxy': 0,
  // The caller decides when to try again; a channel of its own makes sure that it really does.
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
  'grpc.use_local_subchannel_pool': 1,
};

type ClientConstructor<C extends Client> = new (
  address: string,
  credentials: ChannelCredentials,
  options?: Partial<ClientOptions>,
) => C;

/** A client on a channel of its own. `target` is host:port. Close it when done. */
export function createRpcClient<C extends Client>(
  Constructor: ClientConstructor<C>,
  target: string,
  tls: ClientTls,
): C {
  const { credentials, options } = channelCredentials(tls);
  return new Constructor(target, credentials, { ...channelOptions, ...options });
}

/** One unary call with a deadline, as a promise. Rejects with an EnxameError. */
export function callUnary<Request, Response>(
  method: (
    request: Request,
    metadata: Metadata,
    options: { deadline: number },
    callback: (error: ServiceError | null, response: Response) => void,
  ) => unknown,
  request: Request,
  options: { timeoutMs: number },
): Promise<Response> {
  return new Promise((resolve, reject) => {
    method(request, new Metadata(), { deadline: Date.now() + options.timeoutMs }, (error, response) => {
      if (error) reject(fromServiceError(error));
      else resolve(response);
    });
  });
}
