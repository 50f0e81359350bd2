import { describeError } from '#libs/model';
import type { ContainerPort } from '#libs/runtime';
import { expect } from 'chai';
import { collide, portsOf, type PortRequest } from './port-bindings.js';

const taken: Pick<ContainerPort, 'protocol' | 'hostAddress' | 'hostPort'>[] = [
  { protocol: 'tcp', hostPort: 8000 },
  { protocol: 'tcp', hostPort: 32_768 },
  { protocol: 'udp', hostAddress: '127.0.0.1', hostPort: 32_769 },
];

function words(request: Partial<PortRequest>): string {
  try {
    const ports = portsOf({ bindings: {}, publishAll: false, exposed: [], ...request }, (port) =>
      taken.some((other) => collide(other, port)),
    );
    return ports
      .map((port) => `${port.hostAddress ?? '*'}:${port.hostPort}->${port.containerPort}/${port.protocol}`)
      .join(' ');
  } catch (error) {
    return describeError(error);
  }
}

const at = (HostPort: string, HostIp = ''): { HostIp: string; HostPort: string }[] => [{ HostIp, HostPort }];

describe('port bindings', () => {
  const table: [what: string, request: Partial<PortRequest>, expected: string][] = [
    ['nothing', {}, ''],
    ['a number', { bindings: { '80/tcp': at('8080') } }, '*:8080->80/tcp'],
    ['tcp unless said otherwise', { bindings: { '80': at('8080') } }, '*:8080->80/tcp'],
    ['a number that is taken: seen at the start', { bindings: { '80/tcp': at('8000') } }, '*:8000->80/tcp'],
    ['every address by its name', { bindings: { '80/tcp': at('8080', '0.0.0.0') } }, '*:8080->80/tcp'],
    ['one address', { bindings: { '53/udp': at('5353', '127.0.0.1') } }, '127.0.0.1:5353->53/udp'],
    ['the first that is free of a range', { bindings: { '80/tcp': at('8000-8002') } }, '*:8001->80/tcp'],
    ['any', { bindings: { '80/tcp': at('') } }, '*:32769->80/tcp'],
    ['any, when the list is empty', { bindings: { '80/tcp': [] } }, '*:32769->80/tcp'],
    ['any, where one address has it', { bindings: { '53/udp': at('') } }, '*:32768->53/udp'],
    [
      'two for one port',
      { bindings: { '80/tcp': [...at('8080'), ...at('8081', '10.0.0.1')] } },
      '*:8080->80/tcp 10.0.0.1:8081->80/tcp',
    ],
    [
      'numbers before what may be any',
      { bindings: { '80/tcp': at(''), '81/tcp': at('32769') } },
      '*:32770->80/tcp *:32769->81/tcp',
    ],
    [
      'all that are exposed and not bound',
      { publishAll: true, bindings: { '80/tcp': at('8080') }, exposed: ['80/tcp', '443/tcp'] },
      '*:8080->80/tcp *:32769->443/tcp',
    ],
    [
      'a range without a free port',
      { bindings: { '80/tcp': at('8000-8000'), '81/tcp': at('8000-8000') } },
      '*:8000->80/tcp *:8000->81/tcp',
    ],
    ['no port', { bindings: { 'http/tcp': at('80') } }, 'invalid port specification: "http/tcp"'],
    ['a protocol nobody has', { bindings: { '80/icmp': at('80') } }, 'invalid port specification: "80/icmp"'],
    ['a port too high', { bindings: { '80/tcp': at('65536') } }, 'invalid port specification: "65536"'],
    [
      'a range the wrong way round',
      { bindings: { '80/tcp': at('9-8') } },
      'invalid port specification: "9-8"',
    ],
    ['no address', { bindings: { '80/tcp': at('80', 'here') } }, 'invalid IP address: here'],
    [
      'IPv6',
      { bindings: { '80/tcp': at('80', '::1') } },
      'published ports of IPv6 addresses (::1) are not available',
    ],
    ['no list', { bindings: { '80/tcp': 80 } }, 'invalid HostConfig.PortBindings: must hold lists'],
  ];
  for (const [what, request, expected] of table) {
    it(what, () => expect(words(request)).to.equal(expected));
  }

  it('say so when a range has no free port', () => {
    const full = (): ContainerPort[] =>
      portsOf({ bindings: { '80/tcp': at('8000-8001') }, publishAll: false, exposed: [] }, () => true);
    expect(full).to.throw('all ports are allocated');
  });
});
