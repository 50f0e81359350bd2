/** `-p` and `-P`: from what a client asked for to ports of the node. Pure; what is taken is an argument. */
import { EnxameError } from '#libs/model';
import type { ContainerPort } from '#libs/runtime';

/** The kernel's own range of ports that nobody asked for by number. */
const anyPortFirst = 32_768;
const anyPortLast = 60_999;
const portLast = 65_535;

export interface PortRequest {
  /** `80/tcp` to where on the node. */
  bindings: Record<string, unknown>;
  publishAll: boolean;
  /** `80/tcp`, of the client and of the image. */
  exposed: readonly string[];
}

type Protocol = ContainerPort['protocol'];

interface Binding {
  hostAddress?: string;
  /** Both zero: any. */
  first: number;
  last: number;
}

export type IsTaken = (port: Pick<ContainerPort, 'protocol' | 'hostAddress' | 'hostPort'>) => boolean;

/** A port asked for by its number is given as it is: whether it can be had shows when the container starts. */
export function portsOf(request: PortRequest, isTaken: IsTaken): ContainerPort[] {
  const wanted: { port: ReturnType<typeof parsePort>; binding: Binding }[] = [];
  for (const [text, value] of Object.entries(request.bindings)) {
    const port = parsePort(text);
    for (const binding of bindingsOf(value)) wanted.push({ port, binding });
  }
  if (request.publishAll) {
    for (const text of request.exposed) {
      if (Object.hasOwn(request.bindings, text)) continue;
      wanted.push({ port: parsePort(text), binding: { first: 0, last: 0 } });
    }
  }
  const ports: ContainerPort[] = [];
  // Numbers first, so that what may be any port keeps away from them.
  wanted.sort((a, b) => Number(a.binding.first === 0) - Number(b.binding.first === 0));
  for (const { port, binding } of wanted) {
    const base = {
      protocol: port.protocol,
      containerPort: port.number,
      ...(binding.hostAddress === undefined ? {} : { hostAddress: binding.hostAddress }),
    };
    ports.push({ ...base, hostPort: choose(binding, base, [...ports], isTaken) });
  }
  return ports.sort((a, b) => a.containerPort - b.containerPort || (a.protocol < b.protocol ? -1 : 1));
}

function choose(
  { first, last }: Binding,
  base: Pick<ContainerPort, 'protocol' | 'hostAddress'>,
  own: readonly ContainerPort[],
  isTaken: IsTaken,
): number {
  if (first !== 0 && first === last) return first;
  const [from, to] = first === 0 ? [anyPortFirst, anyPortLast] : [first, last];
  for (let hostPort = from; hostPort <= to; hostPort++) {
    const candidate = { ...base, hostPort };
    if (!own.some((other) => collide(other, candidate)) && !isTaken(candidate)) return hostPort;
  }
  throw new EnxameError('internal', 'all ports are allocated');
}

/** Every address of the node is also each of them. */
export function collide(
  a: Pick<ContainerPort, 'protocol' | 'hostAddress' | 'hostPort'>,
  b: Pick<ContainerPort, 'protocol' | 'hostAddress' | 'hostPort'>,
): boolean {
  return (
    a.protocol === b.protocol &&
    a.hostPort === b.hostPort &&
    (a.hostAddress === undefined || b.hostAddress === undefined || a.hostAddress === b.hostAddress)
  );
}

function parsePort(text: string): { protocol: Protocol; number: number } {
  const [number = '', protocol = 'tcp'] = text.split('/');
  if (!/^\d{1,5}$/.test(number) || Number(number) < 1 || Number(number) > portLast) {
    throw invalid(`invalid port specification: "${text}"`);
  }
  if (protocol !== 'tcp' && protocol !== 'udp' && protocol !== 'sctp')
    throw invalid(`invalid port specification: "${text}"`);
  return { protocol, number: Number(number) };
}

function bindingsOf(value: unknown): Binding[] {
  if (value === null || value === undefined) return [{ first: 0, last: 0 }];
  if (!Array.isArray(value)) throw invalid('invalid HostConfig.PortBindings: must hold lists');
  const bindings = value.map((entry: unknown) => {
    const { HostIp = '', HostPort = '' } = (entry ?? {}) as { HostIp?: unknown; HostPort?: unknown };
    if (typeof HostIp !== 'string' || typeof HostPort !== 'string')
      throw invalid('invalid HostConfig.PortBindings: HostIp and HostPort must be strings');
    return bindingOf(HostIp, HostPort);
  });
  return bindings.length === 0 ? [{ first: 0, last: 0 }] : bindings;
}

function bindingOf(hostIp: string, hostPort: string): Binding {
  const match = /^(\d{1,5})?(?:-(\d{1,5}))?$/.exec(hostPort);
  const first = Number(match?.[1] ?? 0);
  const last = Number(match?.[2] ?? first);
  if (match === null || first > portLast || last > portLast || last < first)
    throw invalid(`invalid port specification: "${hostPort}"`);
  if (hostIp.includes(':'))
    throw new EnxameError(
      'not-implemented',
      `published ports of IPv6 addresses (${hostIp}) are not available`,
    );
  if (hostIp !== '' && !/^\d{1,3}(\.\d{1,3}){3}$/.test(hostIp))
    throw invalid(`invalid IP address: ${hostIp}`);
  const isEvery = hostIp === '' || hostIp === '0.0.0.0';
  return { first, last, ...(isEvery ? {} : { hostAddress: hostIp }) };
}

function invalid(message: string): EnxameError {
  return new EnxameError('invalid-argument', message);
}
