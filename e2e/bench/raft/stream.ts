/**
 * Calls as messages on one bidirectional gRPC stream, as the product's own sessions carry them. A message is a number
 * and the request, the answer the same number.
 */
import type { GrpcClient, MessageReceiver, MessageStream, UnaryHandler } from '#libs/rpc';
import { connectTo } from './wire.js';

const numberBytes = 4;

function numbered(number: number, message: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(numberBytes + message.length);
  bytes.writeUInt32BE(number, 0);
  bytes.set(message, numberBytes);
  return bytes;
}

/** Answers each message of the stream; a failure ends it. */
export function serveStream(stream: MessageStream, handler: UnaryHandler): MessageReceiver {
  return {
    message(message) {
      const number = message.readUInt32BE(0);
      handler(Buffer.from(message.subarray(numberBytes))).then(
        (answer) => stream.send(numbered(number, answer)),
        () => stream.cancel(),
      );
    },
    ended: () => stream.end(),
    drained: () => undefined,
  };
}

export class StreamClient {
  private readonly client: GrpcClient;
  private readonly stream: MessageStream | undefined;
  private readonly waiting = new Map<number, { resolve: () => void; reject: (error: Error) => void }>();
  private next = 1;

  constructor(target: string, path: string) {
    this.client = connectTo(target);
    this.stream = this.client.open(path, {
      message: (message) => {
        const number = message.readUInt32BE(0);
        this.waiting.get(number)?.resolve();
        this.waiting.delete(number);
      },
      ended: (error) => {
        for (const { reject } of this.waiting.values()) reject(error ?? new Error('the stream has ended'));
        this.waiting.clear();
      },
      drained: () => undefined,
    });
  }

  call(request: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      const number = this.next++;
      this.waiting.set(number, { resolve, reject });
      this.stream?.send(numbered(number, request));
    });
  }
}
