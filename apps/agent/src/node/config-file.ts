/** Reads the node's configuration file and checks it whole: the field and the rule are named, never the value. */
import { EnxameError, type NodeConfig } from '#libs/model';
import { readFileSync } from 'node:fs';
import { isIPv4 } from 'node:net';

type Rule = [field: string, holds: (config: NodeConfig) => boolean, rule: string];

const socketPathBytesMax = 107;
const isPath = (value: unknown): boolean => typeof value === 'string' && value.startsWith('/');
const isSocket = (value: unknown): boolean =>
  isPath(value) && Buffer.byteLength(value as string) <= socketPathBytesMax;
const isPort = (value: unknown): boolean =>
  Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 65_535;

const rules: Rule[] = [
  ['clusterName', (c) => typeof c.clusterName === 'string' && c.clusterName !== '', 'must be set'],
  ['nodeName', (c) => /^[a-zA-Z0-9][a-zA-Z0-9.-]{0,62}$/.test(c.nodeName), 'must be a host name'],
  ['stateDir', (c) => isPath(c.stateDir), 'must be an absolute path'],
  ['runDir', (c) => isPath(c.runDir), 'must be an absolute path'],
  [
    'apiSocket',
    (c) => isSocket(c.apiSocket),
    `must be an absolute path of at most ${socketPathBytesMax} bytes`,
  ],
  [
    'managerSocket',
    (c) => isSocket(c.managerSocket),
    `must be an absolute path of at most ${socketPathBytesMax} bytes`,
  ],
  ['address', (c) => isIPv4(c.address), 'must be an IPv4 address'],
  ['clusterPort', (c) => isPort(c.clusterPort), 'must be a port number'],
  [
    'enginePort',
    (c) => isPort(c.enginePort) && c.enginePort !== c.clusterPort,
    'must be a port number of its own',
  ],
  ['cgroupParent', (c) => isPath(c.cgroupParent), 'must be an absolute cgroup path'],
  ['network.tag', (c) => /^[a-z0-9]{1,8}$/.test(c.network?.tag), 'must be 1 to 8 of a-z and 0-9'],
  ['network.linkLocalGateway', (c) => isIPv4(c.network?.linkLocalGateway), 'must be an IPv4 address'],
  [
    'network.markBase',
    (c) => Number.isInteger(c.network?.markBase) && c.network.markBase > 0 && c.network.markBase % 4096 === 0,
    'must be a multiple of 4096',
  ],
  ['insecureRegistries', (c) => Array.isArray(c.insecureRegistries), 'must be a list'],
  [
    'registryMirrors',
    (c) =>
      c.registryMirrors === undefined ||
      (Array.isArray(c.registryMirrors) &&
        c.registryMirrors.every((url) => /^https?:\/\/[^/]+\/?$/.test(url))),
    'must be a list of http or https URLs without a path',
  ],
  [
    'logLevel',
    (c) => ['debug', 'info', 'warn', 'error'].includes(c.logLevel),
    'must be debug, info, warn or error',
  ],
  [
    'membership.kind',
    (c) => ['none', 'init', 'join'].includes(c.membership?.kind),
    'must be none, init or join',
  ],
  [
    'membership.remoteAddresses',
    (c) => c.membership?.kind !== 'join' || (c.membership.remoteAddresses?.length ?? 0) > 0,
    'must name at least one manager to join',
  ],
  [
    'membership.token',
    (c) => c.membership?.kind !== 'join' || typeof c.membership.token === 'string',
    'must be set to join',
  ],
  [
    'membership.addressPools',
    (c) => c.membership?.kind !== 'init' || (c.membership.addressPools?.length ?? 0) > 0,
    'must name at least one pool',
  ],
];

export function readNodeConfig(file: string): NodeConfig {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new EnxameError('invalid-argument', `${file}: cannot be read as JSON`, { cause: error });
  }
  if (typeof value !== 'object' || value === null) {
    throw new EnxameError('invalid-argument', `${file}: must hold an object`);
  }
  const config = value as NodeConfig;
  const broken = rules.filter(([, holds]) => !holds(config)).map(([field, , rule]) => `${field} ${rule}`);
  if (broken.length > 0) throw new EnxameError('invalid-argument', `${file}: ${broken.join('; ')}`);
  return config;
}
