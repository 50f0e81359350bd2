/**
 * A log entry's bytes: one or more transactions that were proposed at about the same time, each with an outcome of
 * its own. JSON, because a missing field, a new field and a field of a later version all keep their meaning.
 */
import { type Change, EnxameError, type Transaction } from '#libs/model';

const entryFormat = 1;

/** A removed field must survive JSON, which drops `undefined`: it travels as null. */
export function encodeChanges(changes: readonly Change[]): string {
  return JSON.stringify(changes.map(withNulls));
}

function withNulls(change: Change): unknown {
  if (change.op !== 'patch') return change;
  const fields: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(change.fields))
    fields[name] = value === undefined ? null : value;
  return { ...change, fields };
}

/** `encodedChanges` are the results of `encodeChanges`, one per transaction. */
export function encodeEntry(
  encodedChanges: readonly string[],
  atMs: number,
  ifTerms: readonly (number | undefined)[] = [],
): Buffer {
  const terms = ifTerms.some((term) => term !== undefined)
    ? `,"ifTerms":${JSON.stringify(ifTerms.map((term) => term ?? null))}`
    : '';
  return Buffer.from(
    `{"format":${entryFormat},"atMs":${atMs},"transactions":[${encodedChanges.join(',')}]${terms}}`,
    'utf8',
  );
}

export function decodeEntry(data: Uint8Array): Transaction[] {
  let entry: unknown;
  try {
    entry = JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('utf8'));
  } catch (cause) {
    throw new EnxameError('data-damaged', 'a log entry is not JSON', { cause });
  }
  if (!isEntry(entry)) {
    throw new EnxameError('data-damaged', `a log entry is not of format ${entryFormat}`);
  }
  const { atMs, ifTerms = [] } = entry;
  return entry.transactions.map((changes, at) => {
    const ifTerm = ifTerms[at] ?? undefined;
    return { atMs, changes, ...(ifTerm === undefined ? {} : { ifTerm }) };
  });
}

function isEntry(value: unknown): value is {
  atMs: number;
  transactions: Change[][];
  /** By position; null where any term will do. Absent in entries without such a condition. */
  ifTerms?: (number | null)[];
} {
  return (
    typeof value === 'object' &&
    value !== null &&
    'format' in value &&
    value.format === entryFormat &&
    'atMs' in value &&
    typeof value.atMs === 'number' &&
    'transactions' in value &&
    Array.isArray(value.transactions)
  );
}
