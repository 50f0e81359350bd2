/** Between the model's documents and the session's envelopes. What comes from a node is checked before it is believed. */
import {
  EnxameError,
  taskStateOrder,
  taskStateOwner,
  type AssignmentItem,
  type ClusterEvent,
  type HeldTls,
  type NodeDescription,
  type StatsSample,
  type TaskStatusReport,
} from '#libs/model';
import type { session } from '#libs/rpc';

export function encodeItem(item: AssignmentItem): session.Item {
  return { kind: item.kind, id: item.id, body: Buffer.from(JSON.stringify(item)) };
}

function parse(bytes: Buffer, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw new EnxameError('invalid-argument', `${what}: not JSON`, { cause: error });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new EnxameError('invalid-argument', `${what}: not an object`);
  }
  return value as Record<string, unknown>;
}

const textLengthMax = 4096;

function text(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, textLengthMax) : '';
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : 0;
}

function labels(value: unknown): Record<string, string> {
  if (typeof value !== 'object' || value === null) return {};
  return Object.fromEntries(
    Object.entries(value)
      .filter((entry): entry is [string, string] => typeof entry[1] === 'string')
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}

/** Roots with long RSA keys, in base64. */
const tlsLengthMax = 16 * 1024;

export function decodeTls(tls: session.HeldTls | undefined): HeldTls | undefined {
  if (tls === undefined) return undefined;
  const { trustRootPem, issuerSubject, issuerPublicKey } = tls;
  if (trustRootPem.length + issuerSubject.length + issuerPublicKey.length > tlsLengthMax) {
    throw new EnxameError('invalid-argument', `tls: over ${tlsLengthMax} characters`);
  }
  return { trustRootPem, issuerSubject, issuerPublicKey };
}

export function decodeDescription(bytes: Buffer): NodeDescription {
  const value = parse(bytes, 'node description');
  const part = (name: string): Record<string, unknown> => (value[name] ?? {}) as Record<string, unknown>;
  return {
    hostname: text(value['hostname']),
    platform: { os: text(part('platform')['os']), architecture: text(part('platform')['architecture']) },
    resources: {
      nanoCpus: count(part('resources')['nanoCpus']),
      memoryBytes: count(part('resources')['memoryBytes']),
    },
    engine: { version: text(part('engine')['version']), labels: labels(part('engine')['labels']) },
  };
}

/** A status as an agent may report it: a state that agents own, and words of bounded length. */
export function decodeReport(bytes: Buffer): TaskStatusReport {
  const value = parse(bytes, 'task status');
  const status = value['status'] as Partial<TaskStatusReport['status']> | undefined;
  const state = status?.state;
  if (typeof value['taskId'] !== 'string' || !state || !(state in taskStateOrder)) {
    throw new EnxameError('invalid-argument', 'task status: taskId and a known state are required');
  }
  if (taskStateOwner[state] !== 'agent') {
    throw new EnxameError('invalid-argument', `task status: an agent may not report ${state}`);
  }
  const { container } = status;
  return {
    taskId: value['taskId'] as TaskStatusReport['taskId'],
    status: {
      state,
      atMs: count(status.atMs),
      message: text(status.message),
      ...(status.error ? { error: text(status.error) } : {}),
      ...(container && typeof container.id === 'string'
        ? {
            container: {
              id: container.id,
              pid: count(container.pid),
              ...(typeof container.exitCode === 'number' ? { exitCode: container.exitCode } : {}),
              ...(container.oomKilled === true ? { oomKilled: true } : {}),
            },
          }
        : {}),
    },
  };
}

export function decodeEvent(bytes: Buffer): ClusterEvent {
  const value = parse(bytes, 'event') as unknown as ClusterEvent;
  if (typeof value.Type !== 'string' || typeof value.Actor?.ID !== 'string') {
    throw new EnxameError('invalid-argument', 'event: Type and Actor.ID are required');
  }
  return value;
}

export function decodeSample(bytes: Buffer): StatsSample {
  const value = parse(bytes, 'stats sample') as unknown as StatsSample;
  if (typeof value.containerId !== 'string' || typeof value.atMs !== 'number') {
    throw new EnxameError('invalid-argument', 'stats sample: containerId and atMs are required');
  }
  return value;
}
