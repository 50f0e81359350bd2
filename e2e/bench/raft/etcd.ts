/**
 * Debian's etcd as a peer: three members on loopback, fsync on, in folders of its own. Its members talk over TLS as
 * ours do, who know no other way.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually } from '../../harness/cluster.js';
import { freePorts, stopAll } from './processes.js';
import { decodeLeads, paths } from './kv.js';
import { UnaryClient } from './wire.js';

const program = fileURLToPath(new URL('../../../../build/tools/etcd/usr/bin/etcd', import.meta.url));

export class EtcdPeer {
  private children: ChildProcess[] = [];
  private fronts: string[] = [];

  constructor(private readonly folder: string) {}

  async start(): Promise<void> {
    const ports = await freePorts(6);
    const names = ['a', 'b', 'c'];
    const peers = names.map((name, i) => `${name}=https://127.0.0.1:${ports[i]}`).join(',');
    this.fronts = names.map((_, i) => `127.0.0.1:${ports[3 + i]}`);
    this.children = names.map((name, i) => {
      const log = openSync(join(this.folder, `etcd-${name}.log`), 'a');
      const args = {
        name,
        'data-dir': join(this.folder, `etcd-${name}`),
        'initial-cluster': peers,
        'initial-cluster-state': 'new',
        'initial-advertise-peer-urls': `https://127.0.0.1:${ports[i]}`,
        'peer-auto-tls': 'true',
        'listen-peer-urls': `https://127.0.0.1:${ports[i]}`,
        'listen-client-urls': `http://${this.fronts[i]}`,
        'advertise-client-urls': `http://${this.fronts[i]}`,
      };
      return spawn(
        program,
        Object.entries(args).map(([key, value]) => `--${key}=${value}`),
        { stdio: ['ignore', log, log] },
      );
    });
    await eventually('etcd has a leader', 30_000, async () => (await this.leader()) !== undefined);
  }

  /** The front of the member that leads. */
  async leader(): Promise<string | undefined> {
    for (const target of this.fronts) {
      const client = new UnaryClient(target);
      const leads = await client.call(paths.status, new Uint8Array(0), 2_000).then(decodeLeads, () => false);
      client.close();
      if (leads) return target;
    }
    return undefined;
  }

  get pids(): number[] {
    return this.children.map((child) => child.pid ?? 0);
  }

  stop(): Promise<void> {
    return stopAll(this.children);
  }
}
