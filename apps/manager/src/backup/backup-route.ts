/**
 * `GET /_enxame/backup` on the manager's private socket: the whole state of the cluster at one moment, CA and keys
 * included, while everything goes on. Lines of JSON: a head, the store's snapshot, and an end with the SHA-256 of all
 * before it, without which a backup is not whole.
 */
import type { Route } from '#libs/docker-api';
import { backupFormat, EnxameError, type BackupHead, type ClusterView, type NodeId } from '#libs/model';
import { createHash } from 'node:crypto';
import { once } from 'node:events';

export interface BackupOptions {
  /** Resolves when the store shows every write acknowledged before. */
  current(): Promise<void>;
  store: { view(): ClusterView };
  machine: { snapshot(): Iterable<Uint8Array>; view(): { readonly index: number } };
  nodeId(): NodeId;
  term(): number;
  nowMs(): number;
}

export function backupRoute(options: BackupOptions): Route {
  return {
    method: 'GET',
    path: '/_enxame/backup',
    async handler(_request, response) {
      await options.current();
      const { cluster } = options.store.view();
      if (cluster === undefined) throw new EnxameError('unavailable', 'the cluster is not known yet');
      const head: BackupHead = {
        enxameBackup: backupFormat,
        clusterId: cluster.id,
        nodeId: options.nodeId(),
        index: options.machine.view().index,
        term: options.term(),
        atMs: options.nowMs(),
      };
      // Taken now; its lines are made as they are sent, whatever is applied meanwhile.
      const chunks = options.machine.snapshot();
      const body = response.stream(200, { 'content-type': 'application/x-ndjson' });
      const hash = createHash('sha256');
      const send = async (bytes: Uint8Array): Promise<void> => {
        hash.update(bytes);
        if (!body.write(bytes)) await once(body, 'drain');
      };
      await send(Buffer.from(`${JSON.stringify(head)}\n`));
      for (const chunk of chunks) await send(chunk);
      body.end(`${JSON.stringify({ sha256: hash.digest('hex') })}\n`);
    },
  };
}
