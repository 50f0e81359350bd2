/** `enxame raft inspect`: what a manager's data folder holds. Nothing is changed, and the manager may be running. */
import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Change } from '#libs/model';
import { readStorageKeysFile, type StorageKey } from '#libs/pki';
import {
  type InspectedEntry,
  type InspectedRaft,
  inspectRaft,
  type Membership,
  nodeDisk,
  visitRaftEntries,
} from '#libs/raft';
import { decodeEntry } from '#libs/store';
import { UserError } from '../user-error.js';

export interface InspectCommand {
  key?: string;
  /** True: all of them. */
  entries?: string | true;
  json: boolean;
}

/** Printed as stars, whatever they hold: the output of this command is pasted into reports. */
const secretFields = new Set(['keyPem', 'joinTokens', 'unlockKey', 'SigningCAKey', 'Data', 'registryAuth']);
const filesGoneTriesMax = 3;

export function inspect(folder: string, options: InspectCommand): void {
  const dir = existsSync(join(folder, 'raft')) ? join(folder, 'raft') : folder;
  if (!existsSync(join(dir, 'wal'))) throw new UserError(`${folder} is no raft data folder: it holds no wal`);
  const keys = keysFor(dir, options.key);
  const range = rangeOf(options.entries);
  const raft = whileFilesStay(() => inspectRaft(nodeDisk, { dir, keys }));
  if (options.json) {
    const entries: unknown[] = [];
    if (range) visitRaftEntries(nodeDisk, { dir, keys, ...range }, (entry) => entries.push(jsonEntry(entry)));
    console.log(JSON.stringify(range ? { ...raft, entryList: entries } : raft, null, 2));
    return;
  }
  for (const line of summary(raft)) console.log(line);
  if (!range) return;
  console.log('\nEntries');
  visitRaftEntries(nodeDisk, { dir, keys, ...range }, (entry) => console.log(entryLine(entry)));
}

/** The writer may remove a segment between two looks at the folder. */
function whileFilesStay<T>(read: () => T): T {
  for (let attempt = 1; ; attempt++) {
    try {
      return read();
    } catch (error) {
      const isGone = error instanceof Error && 'code' in error && error.code === 'ENOENT';
      if (!isGone || attempt === filesGoneTriesMax) throw error;
    }
  }
}

function keysFor(dir: string, given: string | undefined): StorageKey[] {
  const file = given ?? join(dirname(dir), 'storage-keys.json');
  if (given === undefined && !existsSync(file)) return [];
  const found = readStorageKeysFile(file);
  if (found === undefined) throw new UserError(`there is no key file ${file}`);
  if (found.kind === 'open') return found.keys;
  const unlockKey = process.env['ENXAME_UNLOCK_KEY'];
  if (unlockKey === undefined) {
    throw new UserError(
      `${file} is locked: set ENXAME_UNLOCK_KEY to the cluster's unlock key (SWMKEY-1-...)`,
    );
  }
  return found.open(unlockKey);
}

/** `FROM-TO`, `FROM-` or one index. */
function rangeOf(entries: string | true | undefined): { from: number; to: number } | undefined {
  if (entries === undefined) return undefined;
  if (entries === true) return { from: 0, to: Number.MAX_SAFE_INTEGER };
  const match = /^([0-9]+)(-([0-9]*))?$/.exec(entries);
  if (match === null) throw new UserError(`--entries ${entries}: must be FROM-TO, FROM- or one index`);
  const from = Number(match[1]);
  const to = match[2] === undefined ? from : match[3] ? Number(match[3]) : Number.MAX_SAFE_INTEGER;
  return { from, to };
}

function* summary(raft: InspectedRaft): Generator<string> {
  const { term, votedFor, commit } = raft.hardState;
  yield `term     ${term}`;
  yield `vote     ${votedFor ?? 'none in this term'}`;
  yield `commit   ${commit}`;
  yield `entries  ${raft.first === undefined ? 'none' : `${raft.first}-${raft.last}`}`;
  yield `members  ${members(raft.membership)}`;
  if (raft.torn) yield `unfinished write in ${basename(raft.torn.file)} at offset ${raft.torn.offset}`;
  yield '\nSegments';
  for (const { file, first, last, entries, keyId, clusterId } of raft.segments) {
    const range = first === undefined ? 'no entries' : `${first}-${last}, ${entries} entries`;
    yield `  ${basename(file)}  ${range}  ${ofKey(keyId)}${clusterId ? `  cluster ${clusterId}` : ''}`;
  }
  yield '\nSnapshots';
  if (raft.snapshots.length === 0) yield '  none';
  for (const { file, meta, id, keyId } of raft.snapshots) {
    const [, , chunks, bytes] = id.split('-');
    yield `  ${basename(file)}  ${bytes} bytes in ${chunks} chunks  ${ofKey(keyId)}  members ${members(meta.membership)}`;
  }
}

function ofKey(keyId: string | undefined): string {
  return keyId === undefined ? 'not encrypted' : `key ${keyId}`;
}

function members({ voters, outgoing, learners }: Membership): string {
  const parts = [voters.join(', ') || 'none'];
  if (outgoing.length > 0) parts.push(`leaving the joint phase with ${outgoing.join(', ')}`);
  if (learners.length > 0) parts.push(`learners ${learners.join(', ')}`);
  return parts.join('; ');
}

export function entryLine(entry: InspectedEntry): string {
  const place = `  ${entry.index} term ${entry.term} ${entry.kind}`;
  if (entry.membership) return `${place} ${JSON.stringify(entry.membership)}`;
  if (entry.kind !== 'data') return place;
  const transactions = changesOf(entry);
  if (transactions === undefined) return `${place} ${entry.data.length} bytes`;
  return `${place} ${transactions.map((changes) => changes.map(changeWords).join(', ')).join(' | ')}`;
}

function changeWords(change: Change): string {
  if (change.op === 'put') return `put ${change.table}/${nameOf(change.object)}`;
  if (change.op === 'patch')
    return `patch ${change.table}/${change.id} ${Object.keys(change.fields).join(' ')}`;
  return `${change.op} ${change.table}/${change.id}`;
}

function nameOf(object: { id: string; spec?: unknown }): string {
  const { spec } = object;
  const name = typeof spec === 'object' && spec !== null && 'Name' in spec ? spec.Name : undefined;
  return typeof name === 'string' ? `${object.id} (${name})` : object.id;
}

function jsonEntry({ data, ...entry }: InspectedEntry): unknown {
  const transactions = entry.kind === 'data' ? changesOf({ ...entry, data }) : undefined;
  const shown = { ...entry, bytes: data.length, ...(transactions ? { transactions } : {}) };
  return JSON.parse(
    JSON.stringify(shown, (name, value: unknown) => (secretFields.has(name) ? '***' : value)),
  );
}

/** Undefined when the bytes are not the store's. */
function changesOf({ data }: InspectedEntry): Change[][] | undefined {
  try {
    return decodeEntry(data).map(({ changes }) => changes);
  } catch {
    return undefined;
  }
}
