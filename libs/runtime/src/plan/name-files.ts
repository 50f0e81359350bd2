/** /etc/hosts, /etc/hostname and /etc/resolv.conf of a container. */
import { EnxameError } from '#libs/model';
import type { ContainerConfig } from '../port.js';

export interface NameFiles {
  hostname: string;
  hosts: string;
  resolvConf: string;
}

const wellKnown = [
  '127.0.0.1\tlocalhost',
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::\tip6-localnet',
  'ff00::\tip6-mcastprefix',
  'ff02::1\tip6-allnodes',
  'ff02::2\tip6-allrouters',
];

/** `node`: the node's own files, which a container in the node's network shares where nothing else is said. */
export function nameFilesOf(
  config: Pick<ContainerConfig, 'hostname' | 'network'>,
  node: { hosts: string; resolvConf: string },
): NameFiles {
  const { network, hostname } = config;
  const own = network.interfaces.map(({ address }) => `${address}\t${hostname}`);
  const asked = network.hosts.map((line) => oneLine(line, 'hosts').replace(/\s+/, '\t'));
  const base = network.mode === 'host' ? node.hosts.split('\n').filter((line) => line !== '') : wellKnown;
  return {
    hostname: `${hostname}\n`,
    hosts: linesOf([...base, ...own, ...asked]),
    resolvConf: resolvConfOf(network, node.resolvConf),
  };
}

function resolvConfOf(network: ContainerConfig['network'], node: string): string {
  const { nameservers, searchDomains, resolverOptions } = network;
  const given = nameservers.length + searchDomains.length + resolverOptions.length > 0;
  if (network.mode === 'host' && !given) return node;
  const lines: string[] = [];
  if (searchDomains.length > 0)
    lines.push(`search ${searchDomains.map((name) => oneLine(name, 'search')).join(' ')}`);
  for (const server of nameservers) lines.push(`nameserver ${oneLine(server, 'nameservers')}`);
  if (resolverOptions.length > 0) {
    lines.push(`options ${resolverOptions.map((option) => oneLine(option, 'options')).join(' ')}`);
  }
  return linesOf(lines);
}

function linesOf(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('');
}

function oneLine(text: string, field: string): string {
  if (/[\n\r\0]/.test(text))
    throw new EnxameError('invalid-argument', `${field}: must not hold a line break`);
  return text;
}
