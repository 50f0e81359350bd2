/** One agent's stream as messages in and out: a bounded wait for the first message, and one end, told once. */
import { EnxameError } from '#libs/model';
import { toServiceError, type session } from '#libs/rpc';
import type { ServerDuplexStream } from '@grpc/grpc-js';

type Call = ServerDuplexStream<session.AgentMessage, session.LeaderMessage>;
export type AgentBody = NonNullable<session.AgentMessage['body']>;
export type LeaderBody = NonNullable<session.LeaderMessage['body']>;

export interface SessionHandlers {
  message(body: AgentBody): void;
  drained(): void;
  /** Called once, whoever ended it. */
  ended(reason: string, by: 'agent' | 'manager'): void;
}

export class SessionStream {
  readonly #call: Call;
  #ended = false;
  #handlers: SessionHandlers | undefined;

  constructor(call: Call) {
    this.#call = call;
  }

  open(handlers: SessionHandlers): void {
    this.#handlers = handlers;
    this.#call.on('data', (message: session.AgentMessage) => {
      if (this.#ended || !message.body) return;
      try {
        handlers.message(message.body);
      } catch (error) {
        this.end(error);
      }
    });
    this.#call.on('drain', () => handlers.drained());
    this.#call.on('error', (error: Error) => this.#finish(error.message, 'agent'));
    this.#call.on('cancelled', () => this.#finish('the connection is gone', 'agent'));
    this.#call.on('end', () => {
      this.#finish('the agent ended the session', 'agent');
      this.#call.end();
    });
  }

  /** False when the stream is full: the message is queued all the same, `drained` tells when to go on. */
  send(body: LeaderBody): boolean {
    if (this.#ended) return false;
    return this.#call.write({ body });
  }

  /** Ends the session with an error the agent sees. */
  end(error: unknown): void {
    if (this.#ended) return;
    this.#finish(error instanceof Error ? error.message : String(error), 'manager');
    this.#call.emit('error', toServiceError(error));
  }

  #finish(reason: string, by: 'agent' | 'manager'): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#handlers?.ended(reason, by);
  }
}

export function protocolError(message: string): EnxameError {
  return new EnxameError('failed-precondition', `session: ${message}`);
}
