/** Open connections to an address, from the kernel's connection table. Parsing is pure. */
import { readFile } from 'node:fs/promises';

/** The kernel's timeouts in seconds: a connection's idle time is what its countdown has lost. */
export interface ConntrackTimeouts {
  tcpEstablished: number;
  tcpUnacknowledged: number;
  tcpFinWait: number;
  tcpCloseWait: number;
  udp: number;
  udpStream: number;
}

const timeoutFiles: Record<keyof ConntrackTimeouts, string> = {
  tcpEstablished: 'nf_conntrack_tcp_timeout_established',
  tcpUnacknowledged: 'nf_conntrack_tcp_timeout_unacknowledged',
  tcpFinWait: 'nf_conntrack_tcp_timeout_fin_wait',
  tcpCloseWait: 'nf_conntrack_tcp_timeout_close_wait',
  udp: 'nf_conntrack_udp_timeout',
  udpStream: 'nf_conntrack_udp_timeout_stream',
};

export async function readConntrackTimeouts(): Promise<ConntrackTimeouts> {
  const entries = await Promise.all(
    Object.entries(timeoutFiles).map(async ([key, file]) => {
      return [key, Number(await readFile(`/proc/sys/net/netfilter/${file}`, 'utf8'))] as const;
    }),
  );
  return Object.fromEntries(entries) as unknown as ConntrackTimeouts;
}

interface Connection {
  protocol: string;
  remainingSeconds: number;
  state: string;
  replySource: string;
  originalDestination: string;
}

function parseLine(line: string): Connection | undefined {
  const fields = line.trim().split(/\s+/);
  if (fields[0] !== 'ipv4') return undefined;
  const [, , protocol = '', , remaining = '0', state = ''] = fields;
  const sources = fields.filter((field) => field.startsWith('src='));
  const destinations = fields.filter((field) => field.startsWith('dst='));
  if (sources.length < 2) return undefined;
  return {
    protocol,
    remainingSeconds: Number(remaining),
    state: protocol === 'tcp' ? state : fields.includes('[UNREPLIED]') ? 'UNREPLIED' : 'REPLIED',
    replySource: sources[1]?.slice(4) ?? '',
    originalDestination: destinations[0]?.slice(4) ?? '',
  };
}

/** Seconds since the last packet, or undefined for a connection that carries nothing any more. */
function idleSeconds(connection: Connection, timeouts: ConntrackTimeouts): number | undefined {
  const { protocol, state, remainingSeconds } = connection;
  if (protocol === 'udp') {
    return (
      (state === 'REPLIED' && remainingSeconds > timeouts.udp ? timeouts.udpStream : timeouts.udp) -
      remainingSeconds
    );
  }
  if (protocol !== 'tcp') return undefined;
  switch (state) {
    case 'ESTABLISHED':
      // While data waits for its acknowledgement the kernel counts down from a shorter timeout.
      return remainingSeconds <= timeouts.tcpUnacknowledged
        ? timeouts.tcpUnacknowledged - remainingSeconds
        : timeouts.tcpEstablished - remainingSeconds;
    case 'SYN_SENT':
    case 'SYN_RECV':
      return 0;
    case 'FIN_WAIT':
      return timeouts.tcpFinWait - remainingSeconds;
    case 'CLOSE_WAIT':
      return timeouts.tcpCloseWait - remainingSeconds;
    default:
      return undefined;
  }
}

/**
 * Connections whose server is `address`, translated to it or not, that moved a packet within `idleMs`.
 * The kernel counts whole seconds, so the answer may count a connection up to a second too long.
 */
export function countActiveConnections(
  table: string,
  timeouts: ConntrackTimeouts,
  query: { address: string; idleMs: number },
): number {
  const needle = `src=${query.address} `;
  let count = 0;
  for (const line of table.split('\n')) {
    if (!line.includes(needle)) continue;
    const connection = parseLine(line);
    if (connection?.replySource !== query.address) continue;
    const idle = idleSeconds(connection, timeouts);
    if (idle !== undefined && idle * 1000 <= query.idleMs) count++;
  }
  return count;
}

/** Those of the addresses that translated UDP flows still lead to. */
export function udpFlowTargets(table: string, addresses: ReadonlySet<string>): string[] {
  const found = new Set<string>();
  for (const line of table.split('\n')) {
    if (!line.includes(' udp ')) continue;
    const connection = parseLine(line);
    if (!connection || connection.replySource === connection.originalDestination) continue;
    if (addresses.has(connection.replySource)) found.add(connection.replySource);
  }
  return [...found].sort();
}
