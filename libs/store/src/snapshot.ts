/**
 * A state in bytes: one line of JSON for the header, then one per object, tables and ids and keys in ascending order.
 * Two members at the same index write the same bytes.
 */
import { EnxameError, type TableName, type Tables, tableNames } from '#libs/model';
import { freezeDeep } from './freeze.js';
import { StoreState } from './state.js';

const snapshotFormat = 1;
const chunkBytes = 64 * 1024;

/** Chunks are made as they are asked for, so that a large store does not stall the event loop. */
export function* encodeSnapshot(state: StoreState): Generator<Buffer> {
  let lines = `${canonicalJson({ format: snapshotFormat, index: state.index })}\n`;
  for (const table of tableNames) {
    for (const object of state.table(table).all()) {
      lines += `${canonicalJson({ table, object })}\n`;
      if (lines.length >= chunkBytes) {
        yield Buffer.from(lines, 'utf8');
        lines = '';
      }
    }
  }
  yield Buffer.from(lines, 'utf8');
}

export function decodeSnapshot(chunks: Iterable<Uint8Array>): StoreState {
  const writer = StoreState.empty().writer();
  let index: number | undefined;
  for (const line of linesOf(chunks)) {
    const record = JSON.parse(line) as {
      format?: number;
      index?: number;
      table?: TableName;
      object?: unknown;
    };
    if (index === undefined) {
      if (record.format !== snapshotFormat || record.index === undefined) {
        throw new EnxameError('data-damaged', `the store's snapshot is not of format ${snapshotFormat}`);
      }
      index = record.index;
    } else if (record.table !== undefined && tableNames.includes(record.table)) {
      writer.set(record.table, freezeDeep(record.object as Tables[TableName]));
    } else {
      throw new EnxameError('data-damaged', `the store's snapshot has an unknown table ${record.table}`);
    }
  }
  if (index === undefined) throw new EnxameError('data-damaged', "the store's snapshot is empty");
  return writer.finish(index);
}

/** A chunk ends with a whole line. */
function* linesOf(chunks: Iterable<Uint8Array>): Generator<string> {
  for (const chunk of chunks) {
    const text = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString('utf8');
    for (const line of text.split('\n')) if (line !== '') yield line;
  }
}

/** JSON with the keys of every object in ascending order. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`);
  return `{${members.join(',')}}`;
}
