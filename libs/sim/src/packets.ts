/** What travels in the simulated network. */
import type { Command, Message, PeerMessage, Recovered } from '#libs/raft';
import type { KeyValueInput, KeyValueOutput } from './linearizability/key-value.js';

export interface ClientRequest {
  /** Of this attempt: answers to earlier ones are told apart. */
  id: number;
  client: string;
  sequence: number;
  input: KeyValueInput;
}

export type ClientOutcome =
  | { kind: 'done'; output: KeyValueOutput }
  /** Not this time: no leader, overloaded, lost on the way. The client asks again, under the same number. */
  | { kind: 'again' }
  /** It may have been done or not, or be done later. */
  | { kind: 'unknown' };

export type Packet =
  | { kind: 'raft'; message: Message }
  /** Between drivers. */
  | { kind: 'peer'; message: PeerMessage }
  /** Also between members: whoever does not lead passes it on; the answer goes to the client all the same. */
  | { kind: 'request'; request: ClientRequest; hops: number }
  | { kind: 'response'; id: number; outcome: ClientOutcome };

export function describePacket(packet: Packet): string {
  return describe(packet);
}

export function describeCommand({ kind, ...rest }: Command): string {
  return `${kind} ${describe(rest)}`;
}

export function describeRecovered(recovered: Recovered): string {
  return describe(recovered);
}

/** For a trace: entries by index and term, the rest as it is. */
function describe(what: object): string {
  return JSON.stringify(what, (key, value: unknown) => {
    if (key !== 'entries' || !Array.isArray(value)) return value;
    return value
      .map(({ index, term, kind }: Record<string, unknown>) => `${index}/${term} ${kind}`)
      .join(', ');
  });
}
