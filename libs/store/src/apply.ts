/**
 * How a log entry changes the tables: `state + transaction -> state`, and nothing else. It reads no clock and no
 * randomness, so every member that has applied the same entries holds the same state, byte for byte.
 */
import {
  type AppliedChange,
  type Change,
  compareTaskStates,
  type Config,
  EnxameError,
  type ErrorCode,
  type Network,
  type Node,
  type Secret,
  type Service,
  type TableName,
  type Tables,
  type Task,
  type Transaction,
} from '#libs/model';
import { freezeDeep } from './freeze.js';
import type { StateWriter, StoreState } from './state.js';

export type Outcome = { ok: true } | { ok: false; code: ErrorCode; message: string };

export interface Applied {
  state: StoreState;
  outcome: Outcome;
  /** Empty when refused. In the order of the transaction's changes. */
  applied: AppliedChange[];
}

type AnyObject = Tables[TableName];
interface Refusal {
  ok: false;
  code: ErrorCode;
  message: string;
}

/** What an object of each table is called in the words of an error. */
export const tableNouns = {
  clusters: 'cluster',
  nodes: 'node',
  services: 'service',
  revisions: 'revision',
  tasks: 'task',
  networks: 'network',
  secrets: 'secret',
  configs: 'config',
} as const satisfies Record<TableName, string>;

/**
 * Applies all changes of a transaction, or none: a refused one leaves the tables as they were and says why.
 * `transaction` must have come from `decodeEntry`; its objects become part of the state and are frozen.
 */
export function applyTransaction(state: StoreState, transaction: Transaction, index: number): Applied {
  const writer = state.writer();
  const applied: AppliedChange[] = [];
  for (const change of transaction.changes) {
    const result = applyChange(writer, change, { index, atMs: transaction.atMs });
    if (result === undefined) continue;
    if ('ok' in result) return { state: state.at(index), outcome: result, applied: [] };
    applied.push(result);
  }
  return { state: writer.finish(index), outcome: { ok: true }, applied };
}

interface At {
  index: number;
  atMs: number;
}

function applyChange(writer: StateWriter, change: Change, at: At): AppliedChange | Refusal | undefined {
  switch (change.op) {
    case 'put':
      return put(writer, change, at);
    case 'patch':
      return patch(writer, change, at);
    case 'delete':
      return remove(writer, change);
  }
}

function put(writer: StateWriter, change: Change & { op: 'put' }, at: At): AppliedChange | Refusal {
  const { table } = change;
  if (writer.get(table, change.object.id) !== undefined) {
    return refuse('conflict', `${tableNouns[table]} ${change.object.id} already exists`);
  }
  const object = freezeDeep({
    ...change.object,
    version: at.index,
    createdAtMs: at.atMs,
    updatedAtMs: at.atMs,
  } as AnyObject);
  const clash = findClash(writer, table, object);
  if (clash !== undefined) return clash;
  writer.set(table, object);
  return { table, id: object.id, after: object } as AppliedChange;
}

function patch(
  writer: StateWriter,
  change: Change & { op: 'patch' },
  at: At,
): AppliedChange | Refusal | undefined {
  const { table, id } = change;
  const before = writer.get(table, id);
  const refusal = guard(table, id, before, change.ifVersion);
  if (refusal !== undefined || before === undefined) return refusal;
  const fields = effectiveFields(table, before, change.fields);
  if (fields.size === 0) return undefined;

  const draft: Record<string, unknown> = { ...before };
  for (const [name, value] of fields) {
    if (value === undefined || value === null) delete draft[name];
    else draft[name] = value;
  }
  draft['version'] = at.index;
  draft['updatedAtMs'] = at.atMs;
  const after = freezeDeep(draft as unknown as AnyObject);
  const clash = findClash(writer, table, after);
  if (clash !== undefined) return clash;
  writer.set(table, after);
  return { table, id, before, after } as AppliedChange;
}

function remove(writer: StateWriter, change: Change & { op: 'delete' }): AppliedChange | Refusal {
  const { table, id } = change;
  const before = writer.get(table, id);
  const refusal = guard(table, id, before, change.ifVersion) ?? inUse(writer, table, before);
  if (refusal !== undefined) return refusal;
  writer.delete(table, id);
  return { table, id, before } as AppliedChange;
}

function guard(
  table: TableName,
  id: string,
  before: Readonly<AnyObject> | undefined,
  ifVersion: number | undefined,
): Refusal | undefined {
  if (before === undefined) return refuse('not-found', `${tableNouns[table]} ${id} not found`);
  if (ifVersion !== undefined && before.version !== ifVersion) {
    return refuse('version-mismatch', 'update out of sequence');
  }
  return undefined;
}

/** What a service refers to stays: its next task needs it. Decided here, so that no service can come in between. */
function inUse(
  writer: StateWriter,
  table: TableName,
  object: Readonly<AnyObject> | undefined,
): Refusal | undefined {
  if (object === undefined || (table !== 'secrets' && table !== 'configs')) return undefined;
  const users: string[] = [];
  for (const { spec } of writer.all('services')) {
    const { Secrets = [], Configs = [] } = spec.TaskTemplate.ContainerSpec ?? {};
    const uses =
      table === 'secrets'
        ? Secrets.some(({ SecretID }) => SecretID === object.id)
        : Configs.some(({ ConfigID }) => ConfigID === object.id);
    if (uses) users.push(spec.Name);
  }
  if (users.length === 0) return undefined;
  const { Name: name } = (object as Secret | Config).spec;
  const services = users.length === 1 ? 'service' : 'services';
  return refuse(
    'invalid-argument',
    `rpc error: code = InvalidArgument desc = ${tableNouns[table]} '${name}' is in use by the following ${services}: ${users.join(', ')}`,
  );
}

const storeOwned = new Set(['id', 'version', 'createdAtMs', 'updatedAtMs']);

/** The patch without fields that are the store's own, and without steps backwards of a task. */
function effectiveFields(
  table: TableName,
  before: Readonly<AnyObject>,
  fields: object,
): Map<string, unknown> {
  const effective = new Map<string, unknown>();
  for (const [name, value] of Object.entries(fields)) {
    if (storeOwned.has(name)) continue;
    if (table === 'tasks' && movesBack(before as Task, name, value)) continue;
    effective.set(name, value);
  }
  return effective;
}

/**
 * A step to the same state is kept: its message may be new ("no suitable node" and why). A removed status would be
 * the furthest step back there is.
 */
function movesBack(task: Readonly<Task>, field: string, value: unknown): boolean {
  if (field === 'status') {
    const status = value as Task['status'] | null | undefined;
    return status === null || status === undefined || compareTaskStates(status.state, task.status.state) < 0;
  }
  if (field === 'desiredState') {
    const desired = value as Task['desiredState'] | null | undefined;
    return desired === null || desired === undefined || compareTaskStates(desired, task.desiredState) < 0;
  }
  return false;
}

/** Another object that already holds what must be unique. */
function findClash(writer: StateWriter, table: TableName, object: AnyObject): Refusal | undefined {
  switch (table) {
    case 'services': {
      const { Name: name } = (object as Service).spec;
      return taken(writer.serviceByName(name), object) ? nameTaken('service', name) : undefined;
    }
    case 'networks': {
      const { Name: name } = (object as Network).spec;
      return taken(writer.networkByName(name), object) ? nameTaken('network', name) : undefined;
    }
    case 'secrets': {
      const { Name: name } = (object as Secret).spec;
      return taken(writer.secretByName(name), object) ? payloadTaken('secret', name) : undefined;
    }
    case 'configs': {
      const { Name: name } = (object as Config).spec;
      return taken(writer.configByName(name), object) ? payloadTaken('config', name) : undefined;
    }
    case 'nodes': {
      const { index } = object as Node;
      for (const other of writer.all('nodes')) {
        if (other.index === index && other.id !== object.id) {
          return refuse('conflict', `node index ${index} is taken by node ${other.id}`);
        }
      }
      return undefined;
    }
    case 'clusters': {
      for (const other of writer.all('clusters')) {
        if (other.id !== object.id) return refuse('conflict', `cluster ${other.id} already exists`);
      }
      return undefined;
    }
    case 'revisions':
    case 'tasks':
      return undefined;
  }
}

function taken(holder: Readonly<AnyObject> | undefined, object: AnyObject): boolean {
  return holder !== undefined && holder.id !== object.id;
}

/** Swarm's words, which clients and scripts look for. */
function nameTaken(noun: string, name: string): Refusal {
  return refuse('conflict', `name conflicts with an existing object: ${noun} ${name} already exists`);
}

function payloadTaken(noun: string, name: string): Refusal {
  return refuse('conflict', `rpc error: code = AlreadyExists desc = ${noun} ${name} already exists`);
}

function refuse(code: ErrorCode, message: string): Refusal {
  return { ok: false, code, message };
}

export function outcomeError(outcome: Refusal): EnxameError {
  return new EnxameError(outcome.code, outcome.message);
}
