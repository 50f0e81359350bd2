/** What a node says about itself to the cluster. */
import type { NodeConfig, NodeDescription } from '#libs/model';
import { readFileSync } from 'node:fs';
import os from 'node:os';

export function describeNode(config: NodeConfig, engineVersion: string): NodeDescription {
  return {
    hostname: config.nodeName,
    // The kernel's own name, as Docker reports it: constraints match both spellings.
    platform: { os: 'linux', architecture: os.machine() },
    resources: { nanoCpus: os.availableParallelism() * 1e9, memoryBytes: os.totalmem() },
    engine: { version: engineVersion, labels: {} },
  };
}

const upstreamsMax = 3;

/**
 * The resolvers the machine itself uses. Ones on its loopback are left out: they would be asked from this process,
 * which may live in another network namespace, and systemd-resolved's stub lists the real ones elsewhere.
 */
export function dnsUpstreams(files = ['/run/systemd/resolve/resolv.conf', '/etc/resolv.conf']): string[] {
  for (const file of files) {
    const servers = readResolvers(file).filter((server) => !server.startsWith('127.'));
    if (servers.length > 0) return servers.slice(0, upstreamsMax);
  }
  return [];
}

function readResolvers(file: string): string[] {
  try {
    return [...readFileSync(file, 'utf8').matchAll(/^\s*nameserver\s+(\d+\.\d+\.\d+\.\d+)\s*$/gm)].map(
      (match) => match[1] ?? '',
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
