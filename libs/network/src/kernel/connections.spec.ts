import { expect } from 'chai';
import { countActiveConnections, udpFlowTargets } from './connections.js';

const timeouts = {
  tcpEstablished: 432_000,
  tcpUnacknowledged: 300,
  tcpFinWait: 120,
  tcpCloseWait: 60,
  udp: 30,
  udpStream: 120,
};

function tcp(remaining: number, state: string, reply = '10.0.1.5'): string {
  return `ipv4     2 tcp      6 ${remaining} ${state} src=192.0.2.9 dst=10.0.0.9 sport=4000 dport=80 src=${reply} dst=192.0.2.9 sport=80 dport=4000 [ASSURED] mark=0 zone-orig=3 use=1`;
}

const outgoing =
  'ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.1.5 dst=203.0.113.1 sport=4000 dport=443 src=203.0.113.1 dst=192.0.2.1 sport=443 dport=4000 [ASSURED] mark=0 use=1';
const udpFresh =
  'ipv4     2 udp      17 29 src=192.0.2.9 dst=10.0.0.9 sport=4000 dport=53 [UNREPLIED] src=10.0.1.5 dst=192.0.2.9 sport=53 dport=4000 mark=0 use=1';
const udpStream =
  'ipv4     2 udp      17 119 src=192.0.2.9 dst=10.0.1.5 sport=4001 dport=53 src=10.0.1.5 dst=192.0.2.9 sport=53 dport=4001 [ASSURED] mark=0 use=1';

describe('countActiveConnections', () => {
  const cases: [string, string, number][] = [
    ['one that moved data just now', tcp(432_000, 'ESTABLISHED'), 1],
    ['one that was silent for two seconds', tcp(431_998, 'ESTABLISHED'), 0],
    ['one with data on the way', tcp(300, 'ESTABLISHED'), 1],
    ['one being made', tcp(59, 'SYN_RECV'), 1],
    ['one half closed', tcp(120, 'FIN_WAIT'), 1],
    ['one that is over', tcp(119, 'TIME_WAIT'), 0],
    ['one to another task', tcp(432_000, 'ESTABLISHED', '10.0.1.50'), 0],
    ['one the task itself opened', outgoing, 0],
    ['a datagram', udpFresh, 1],
    ['a stream of datagrams', udpStream, 1],
    ['an empty table', '', 0],
    ['a line of another family', tcp(432_000, 'ESTABLISHED').replace('ipv4', 'ipv6'), 0],
  ];
  for (const [name, table, expected] of cases) {
    it(name, () => {
      const query = { address: '10.0.1.5', idleMs: 1000 };
      expect(countActiveConnections(`${table}\n`, timeouts, query)).to.equal(expected);
    });
  }
});

describe('udpFlowTargets', () => {
  it('names translated UDP flows only', () => {
    const table = [tcp(300, 'ESTABLISHED'), udpFresh, udpFresh, udpStream, outgoing].join('\n');
    expect(udpFlowTargets(table, new Set(['10.0.1.5', '10.0.1.6']))).to.deep.equal(['10.0.1.5']);
    expect(udpFlowTargets(udpStream, new Set(['10.0.1.5']))).to.deep.equal([]);
  });
});
