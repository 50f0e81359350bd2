/**
 * The replicated map that clients of the simulation use. Every write carries a session and a number, so that one that
 * was asked for twice is done once.
 */
import { crc32 } from 'node:zlib';
import { type KeyValueInput, type KeyValueOutput, keyValueModel } from './linearizability/key-value.js';

export interface MachineCommand {
  session: string;
  sequence: number;
  input: KeyValueInput;
}

/** `stale`: the session has gone on to later writes; whether this one was ever done is not known here. */
export type MachineResult = { kind: 'done'; output: KeyValueOutput; isRepeat: boolean } | { kind: 'stale' };

interface Session {
  sequence: number;
  output: KeyValueOutput;
}

const chunkBytes = 300;

export class KeyValueMachine {
  index = 0;
  term = 0;
  /** Over every command so far: two machines that were fed differently differ here. */
  hash = 0;
  private values = new Map<string, string>();
  private sessions = new Map<string, Session>();

  get(key: string): string | null {
    return this.values.get(key) ?? null;
  }

  apply(entry: { index: number; term: number; data: Uint8Array }): MachineResult {
    this.advance(entry.index, entry.term);
    this.hash = crc32(entry.data, this.hash);
    const { session, sequence, input } = decodeCommand(entry.data);
    const known = this.sessions.get(session);
    if (known !== undefined && sequence < known.sequence) return { kind: 'stale' };
    if (known?.sequence === sequence) return { kind: 'done', output: known.output, isRepeat: true };
    const before = this.get(input.key);
    const output = input.op === 'cas' ? before === input.expected : null;
    const after = keyValueModel.step(before, input, output);
    if (after !== undefined && after !== null) this.values.set(input.key, after);
    this.sessions.set(session, { sequence, output });
    return { kind: 'done', output, isRepeat: false };
  }

  /** An entry without a command. */
  advance(index: number, term: number): void {
    if (index !== this.index + 1) throw new Error(`machine: entry ${index} after ${this.index}`);
    this.index = index;
    this.term = term;
  }

  snapshot(): Uint8Array[] {
    const { index, term, hash, values, sessions } = this;
    const state = { index, term, hash, values: [...values], sessions: [...sessions] };
    const bytes = Buffer.from(JSON.stringify(state), 'utf8');
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += chunkBytes) chunks.push(bytes.subarray(at, at + chunkBytes));
    return chunks;
  }

  restore(chunks: Iterable<Uint8Array>): void {
    const state = JSON.parse(Buffer.concat([...chunks]).toString('utf8')) as {
      index: number;
      term: number;
      hash: number;
      values: [string, string][];
      sessions: [string, Session][];
    };
    this.index = state.index;
    this.term = state.term;
    this.hash = state.hash;
    this.values = new Map(state.values);
    this.sessions = new Map(state.sessions);
  }
}

export function encodeCommand(command: MachineCommand): Uint8Array {
  return Buffer.from(JSON.stringify(command), 'utf8');
}

export function decodeCommand(data: Uint8Array): MachineCommand {
  return JSON.parse(Buffer.from(data).toString('utf8')) as MachineCommand;
}
