/** The real API over the real apply, without a log on disk: for the tests of this folder. */
import {
  objectIdFromBytes,
  type Change,
  type ClusterStore,
  type ClusterView,
  type IdSource,
  type NodeConfig,
  type NodeId,
  type StoreEvent,
  type TableName,
} from '#libs/model';
import { viewOf, withChanges, type PlainObjects } from '#libs/store';
import { createTelemetry, type Telemetry } from '#libs/telemetry';
import { createRootCa, wantedTls } from '#libs/pki';
import { mkdtempSync, rmSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createApiListener, type ApiListener } from './api-listener.js';
import type { EngineDirectory } from './edge/providers.js';

export const testTimeMs = Date.parse('2026-03-01T12:00:00.250Z');

export class MemoryStore implements ClusterStore {
  readonly #listeners = new Set<(event: StoreEvent) => void>();
  #view: ClusterView;

  constructor(objects: PlainObjects = {}) {
    this.#view = viewOf(objects);
  }

  view(): ClusterView {
    return this.#view;
  }

  /** Begins again with these objects. */
  reset(objects: PlainObjects): void {
    this.#view = viewOf(objects);
  }

  async propose(changes: Change[]): Promise<{ index: number }> {
    const index = this.#view.index + 1;
    const before = this.#view;
    this.#view = withChanges(before, changes, { index, atMs: testTimeMs });
    const applied = changes.map((change) => {
      const id = change.op === 'put' ? change.object.id : change.id;
      return {
        table: change.table,
        id,
        before: read(before, change.table, id),
        after: read(this.#view, change.table, id),
      };
    });
    for (const listener of this.#listeners) {
      listener({ index, atMs: testTimeMs, changes: applied as StoreEvent['changes'] });
    }
    return { index };
  }

  watch(listener: (event: StoreEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

function read(view: ClusterView, table: TableName, id: string): unknown {
  return table === 'clusters' ? view.cluster : view[table].get(id);
}

/** Ids in ascending order, so that tests can name them. */
export function countingIds(): IdSource {
  let last = 0;
  return <Id>() => {
    const bytes = Buffer.alloc(16);
    bytes.writeUInt32BE(++last, 12);
    return objectIdFromBytes(bytes) as Id;
  };
}

export const managerId = 'node1'.padEnd(25, '0') as NodeId;
export const workerId = 'node2'.padEnd(25, '0') as NodeId;

export async function smallCluster(): Promise<PlainObjects> {
  const rootCa = await createRootCa({ nowMs: testTimeMs });
  const node = (id: NodeId, index: number, hostname: string) => ({
    id,
    index,
    description: {
      hostname,
      platform: { os: 'linux', architecture: 'x86_64' },
      resources: { nanoCpus: 2e9, memoryBytes: 4e9 },
      engine: { version: '0.1.0', labels: {} },
    },
    status: { state: 'ready' as const, message: '', address: `10.9.0.${index}` },
    tls: wantedTls({ rootCa }),
  });
  return {
    cluster: {
      id: 'cluster0'.padEnd(25, '0') as never,
      spec: { Name: 'default' },
      joinTokens: { worker: 'SWMTKN-1-w', manager: 'SWMTKN-1-m' },
      rootCa,
      addressPools: ['10.0.0.0/8'],
      subnetSize: 16,
      dataPathPort: 4789,
    },
    nodes: [
      {
        ...node(managerId, 1, 'node-1'),
        spec: { Role: 'manager', Availability: 'active' },
        manager: { raftId: 'r1', address: '10.9.0.1:2377', reachability: 'reachable' },
      },
      { ...node(workerId, 2, 'node-2'), spec: { Role: 'worker', Availability: 'active' } },
    ],
    networks: [
      {
        id: 'ingress'.padEnd(25, '0') as never,
        spec: { Name: 'ingress', Driver: 'overlay', Ingress: true },
        blocks: {},
      },
    ],
  };
}

export interface TestApi {
  store: MemoryStore;
  telemetry: Telemetry;
  socketPath: string;
  call(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<{ status: number; body: unknown }>;
  close(): Promise<void>;
}

export async function openTestApi(objects: PlainObjects, engines?: EngineDirectory): Promise<TestApi> {
  const folder = mkdtempSync(join(tmpdir(), 'enxame-api-'));
  const socketPath = join(folder, 'manager.sock');
  const store = new MemoryStore(objects);
  const telemetry = createTelemetry({});
  await telemetry.start();
  const listener: ApiListener = await createApiListener({
    store,
    config: { address: '10.9.0.1', clusterPort: 2377, managerSocket: socketPath } as NodeConfig,
    clock: { nowMs: () => testTimeMs },
    newId: countingIds(),
    randomBytes: (length) => Buffer.alloc(length, 1),
    leadership: {
      leaderId: () => 'r1',
      leaderNode: () => store.view().nodes.get(managerId),
      leading: true,
      current: () => Promise.resolve(),
    },
    telemetry,
    engines: engines ?? {
      engineAddress: () => undefined,
      tls: () => ({ keyPem: '', certificatePem: '', rootCertificatePem: '' }),
    },
    log: () => undefined,
  });
  await listener.listen(socketPath);
  return {
    store,
    telemetry,
    socketPath,
    call: (method, path, body, headers) => call({ socketPath, method, path: `/v1.50${path}`, headers }, body),
    async close() {
      await listener.close();
      await telemetry.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function call(
  target: { socketPath: string; method: string; path: string; headers?: Record<string, string> | undefined },
  body?: unknown,
): Promise<{ status: number; body: unknown }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ ...target, agent: false }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('end', () => {
        const isJson = (answer.headers['content-type'] ?? '').includes('json') && chunks.length > 0;
        // Streams are not text: latin1 keeps their bytes apart.
        const text = Buffer.concat(chunks).toString(isJson ? 'utf8' : 'latin1');
        resolve({ status: answer.statusCode ?? 0, body: isJson ? (JSON.parse(text) as unknown) : text });
      });
    });
    request.on('error', reject);
    request.end(body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body));
  });
}
