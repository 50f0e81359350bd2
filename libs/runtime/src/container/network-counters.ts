/** Bytes and packets of a container's interfaces: `/proc/<pid>/net/dev` shows the network of that process. */
import type { ContainerStats } from '../port.js';

export function parseNetworkCounters(text: string): ContainerStats['network'] {
  const network: ContainerStats['network'] = {};
  for (const line of text.split('\n')) {
    const at = line.indexOf(':');
    if (at < 0) continue;
    const name = line.slice(0, at).trim();
    if (name === 'lo') continue;
    const numbers = line
      .slice(at + 1)
      .trim()
      .split(/\s+/)
      .map(Number);
    network[name] = {
      receivedBytes: numbers[0] ?? 0,
      receivedPackets: numbers[1] ?? 0,
      sentBytes: numbers[8] ?? 0,
      sentPackets: numbers[9] ?? 0,
    };
  }
  return network;
}
