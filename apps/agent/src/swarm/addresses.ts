/** Docker's listen, advertise and remote addresses: `IP`, `interface`, either with `:port`. Pure, but for who asks. */
import { EnxameError } from '#libs/model';
import { isIPv4 } from 'node:net';
import type { NetworkInterfaceInfo } from 'node:os';

export const clusterPortDefault = 2377;

export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

export interface AddressRequest {
  /** Empty: every address, the default port. */
  listen: string;
  /** Empty: the node's configured address. */
  advertise: string;
}

export interface ClusterAddress {
  address: string;
  port: number;
}

const badListen = 'listen address must be an IP address or network interface (with optional port number)';
const badAdvertise =
  'advertise address must be a non-zero IP address or network interface (with optional port number)';
const badDataPath =
  'data path address must be a non-zero IP address or network interface (without a port number)';

/**
 * Where the node listens and is reached. This version listens on the advertised address alone, so that address has
 * to be one of the machine's own.
 */
export function resolveClusterAddress(
  request: AddressRequest,
  node: { address: string; interfaces: Interfaces },
): ClusterAddress {
  const listen = splitPort(request.listen === '' ? '0.0.0.0' : request.listen, badListen);
  const listenHost = hostOf(listen.host, node.interfaces, badListen);
  const advertise =
    request.advertise === ''
      ? { host: listenHost === '0.0.0.0' ? node.address : listenHost, port: undefined }
      : splitPort(request.advertise, badAdvertise);
  const address = hostOf(advertise.host, node.interfaces, badAdvertise);
  if (address === '0.0.0.0') throw new EnxameError('invalid-argument', badAdvertise);
  const own = ipv4AddressesOf(node.interfaces);
  if (!own.includes(address)) {
    throw new EnxameError(
      'invalid-argument',
      `advertise address ${address} is not an address of this node (it has ${own.join(', ') || 'none'})`,
    );
  }
  if (listenHost !== '0.0.0.0' && listenHost !== address) {
    throw new EnxameError(
      'invalid-argument',
      `listen address ${listenHost} must be the advertise address ${address}, or 0.0.0.0`,
    );
  }
  const listenPort = listen.port ?? clusterPortDefault;
  const port = advertise.port ?? listenPort;
  if (request.listen !== '' && listen.port !== undefined && port !== listenPort) {
    throw new EnxameError(
      'invalid-argument',
      `advertise port ${port} must be the listen port ${listenPort}: ports are not translated`,
    );
  }
  return { address, port };
}

/** Where the node's overlay traffic goes, by address or interface; undefined where that is the advertised address. */
export function resolveDataPathAddress(
  request: string,
  node: { address: string; interfaces: Interfaces },
): string | undefined {
  if (request === '') return undefined;
  const address = hostOf(request, node.interfaces, badDataPath);
  if (address === '0.0.0.0') throw new EnxameError('invalid-argument', badDataPath);
  const own = ipv4AddressesOf(node.interfaces);
  if (!own.includes(address)) {
    throw new EnxameError(
      'invalid-argument',
      `data path address ${address} is not an address of this node (it has ${own.join(', ') || 'none'})`,
    );
  }
  return address === node.address ? undefined : address;
}

/** `host:port` of a manager to join; the port may be left out. */
export function parseRemoteAddress(text: string): string {
  const words = `invalid remoteAddr ${JSON.stringify(text)}`;
  const { host, port } = splitPort(text, words);
  if (!isIPv4(host) && !/^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,252})$/.test(host)) {
    throw new EnxameError('invalid-argument', `${words}: must be an IPv4 address or host name with a port`);
  }
  return `${host}:${port ?? clusterPortDefault}`;
}

function splitPort(text: string, words: string): { host: string; port: number | undefined } {
  const at = text.lastIndexOf(':');
  if (at < 0) return { host: text, port: undefined };
  const port = Number(text.slice(at + 1));
  if (!/^\d{1,5}$/.test(text.slice(at + 1)) || port < 1 || port > 65_535) {
    throw new EnxameError('invalid-argument', `${words}: the port must be a number from 1 to 65535`);
  }
  return { host: text.slice(0, at), port };
}

function hostOf(host: string, interfaces: Interfaces, words: string): string {
  const named = interfaces[host];
  if (named !== undefined) {
    const addresses = named.filter(({ family }) => family === 'IPv4').map(({ address }) => address);
    const [only, another] = addresses;
    if (only === undefined) {
      throw new EnxameError('invalid-argument', `interface ${host} has no usable IPv4 address`);
    }
    if (another !== undefined) {
      throw new EnxameError(
        'invalid-argument',
        `interface ${host} has more than one IPv4 address (${only} and ${another})`,
      );
    }
    return only;
  }
  if (!isIPv4(host)) throw new EnxameError('invalid-argument', words);
  return host;
}

export function ipv4AddressesOf(interfaces: Interfaces): string[] {
  return Object.values(interfaces)
    .flatMap((infos) => infos ?? [])
    .filter(({ family }) => family === 'IPv4')
    .map(({ address }) => address);
}
