/**
 * Recording histories, also of real clusters: one JSON line per event, in the order in which one recorder saw them.
 *
 *     {"id":1,"client":"c1","event":"call","op":"put","key":"a","value":"x"}
 *     {"id":1,"event":"answer","output":null}
 *     {"id":2,"client":"c2","event":"call","op":"get","key":"a"}
 *     {"id":2,"event":"refused"}
 *
 * `answer`: it was done, with this output. `refused`: it is certain that nothing was or will be done. An operation
 * with neither has an unknown outcome, as after a timeout or a broken connection.
 */
import type { KeyValueInput, KeyValueOutput } from './key-value.js';
import type { Operation } from './operation.js';

export type HistoryEvent =
  | ({ id: number; client: string; event: 'call' } & KeyValueInput)
  | { id: number; event: 'answer'; output: KeyValueOutput }
  | { id: number; event: 'refused' };

export type KeyValueOperation = Operation<KeyValueInput, KeyValueOutput>;

export class HistoryRecorder {
  readonly events: HistoryEvent[] = [];
  private nextId = 1;

  /** `onEvent` sees each event as it happens, for instance to write it down before going on. */
  constructor(private readonly onEvent?: (event: HistoryEvent) => void) {}

  /** Before the request leaves. Returns the operation's id. */
  call(client: string, input: KeyValueInput): number {
    const id = this.nextId++;
    this.add({ id, client, event: 'call', ...input });
    return id;
  }

  answer(id: number, output: KeyValueOutput): void {
    this.add({ id, event: 'answer', output });
  }

  refused(id: number): void {
    this.add({ id, event: 'refused' });
  }

  private add(event: HistoryEvent): void {
    this.events.push(event);
    this.onEvent?.(event);
  }
}

export function formatHistory(events: readonly HistoryEvent[]): string {
  return events.map((event) => `${JSON.stringify(event)}\n`).join('');
}

/** Throws an Error that names the line and the rule it breaks. A last line that is cut off is left out. */
export function parseHistory(text: string): HistoryEvent[] {
  const lines = text.split('\n');
  const unfinished = lines.pop();
  const events = lines.map((line, at) => parseLine(line, at + 1)).filter((event) => event !== undefined);
  if (unfinished !== undefined && unfinished.trim() !== '') {
    try {
      const event = parseLine(unfinished, lines.length + 1);
      if (event !== undefined) events.push(event);
    } catch {
      // A recorder that was killed: the event it was about to write is unknown, as the rules say.
    }
  }
  return events;
}

/** Throws an Error when an event refers to no call, or to one that is over. */
export function toOperations(events: readonly HistoryEvent[]): KeyValueOperation[] {
  const operations = new Map<number, KeyValueOperation>();
  const over = new Set<number>();
  for (const [at, event] of events.entries()) {
    if (event.event === 'call') {
      if (operations.has(event.id) || over.has(event.id)) throw misplaced(event, 'the id is in use');
      operations.set(event.id, { client: event.client, input: inputOf(event), invokedAt: at });
      continue;
    }
    const operation = operations.get(event.id);
    if (operation === undefined) throw misplaced(event, 'nothing was called under this id');
    if (over.has(event.id)) throw misplaced(event, 'the operation is over');
    over.add(event.id);
    if (event.event === 'answer') operation.answer = { at, output: event.output };
    else operations.delete(event.id);
  }
  return [...operations.values()];
}

function inputOf(event: Extract<HistoryEvent, { event: 'call' }>): KeyValueInput {
  const { id: _id, client: _client, event: _event, ...input } = event;
  return input;
}

function misplaced(event: HistoryEvent, rule: string): Error {
  return new Error(`history: ${event.event} of operation ${event.id}: ${rule}`);
}

function parseLine(line: string, number: number): HistoryEvent | undefined {
  if (line.trim() === '') return undefined;
  const fail = (rule: string): never => {
    throw new Error(`history line ${number}: ${rule}`);
  };
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return fail('is not JSON');
  }
  if (typeof value !== 'object' || value === null) return fail('is not an object');
  const fields = value as Record<string, unknown>;
  const text = (name: string): string =>
    typeof fields[name] === 'string' ? fields[name] : fail(`${name} must be a string`);
  const id = typeof fields['id'] === 'number' ? fields['id'] : fail('id must be a number');
  switch (fields['event']) {
    case 'call':
      return { id, client: text('client'), event: 'call', ...parseInput(fields, text, fail) };
    case 'answer': {
      const { output } = fields;
      if (typeof output !== 'string' && typeof output !== 'boolean' && output !== null)
        return fail('output must be a string, a boolean or null');
      return { id, event: 'answer', output };
    }
    case 'refused':
      return { id, event: 'refused' };
    default:
      return fail('event must be call, answer or refused');
  }
}

function parseInput(
  fields: Record<string, unknown>,
  text: (name: string) => string,
  fail: (rule: string) => never,
): KeyValueInput {
  const { op, expected } = fields;
  switch (op) {
    case 'get':
      return { op, key: text('key') };
    case 'put':
    case 'append':
      return { op, key: text('key'), value: text('value') };
    case 'cas':
      if (typeof expected !== 'string' && expected !== null) return fail('expected must be a string or null');
      return { op, key: text('key'), expected, value: text('value') };
    default:
      return fail('op must be get, put, append or cas');
  }
}
