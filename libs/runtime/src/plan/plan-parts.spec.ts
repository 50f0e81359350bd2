import { expect } from 'chai';
import { environmentOf } from './environment.js';
import { nameFilesOf } from './name-files.js';
import { signalNumber } from './signals.js';
import { parseNodeLimits, planUlimits } from './ulimits.js';
import { resolveUser } from './users.js';

const passwd =
  'root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\nana:x:1000:100::/home/ana:/bin/sh\n12:x:77:77::/\n';
const group = 'root:x:0:\nusers:x:100:\nvideo:x:44:bo,ana\naudio:x:45:ana\n';

describe('users of a container', () => {
  const table: [string, string[], object | string][] = [
    ['', [], { uid: 0, gid: 0, groups: [0], home: '/root' }],
    ['ana', [], { uid: 1000, gid: 100, groups: [100, 44, 45], home: '/home/ana' }],
    ['1000', ['video'], { uid: 1000, gid: 100, groups: [100, 44, 45], home: '/home/ana' }],
    ['ana:video', [], { uid: 1000, gid: 44, groups: [44], home: '/home/ana' }],
    ['555', [], { uid: 555, gid: 0, groups: [0], home: '/' }],
    ['555:666', ['7'], { uid: 555, gid: 666, groups: [666, 7], home: '/' }],
    ['12', [], { uid: 77, gid: 77, groups: [77], home: '/' }],
    ['bob', [], 'unable to find user bob'],
    ['ana:staff', [], 'unable to find group staff'],
    ['4294967296', [], 'must be in range'],
    ['-1', [], 'unable to find user -1'],
  ];
  for (const [user, groups, expected] of table) {
    it(`"${user}" ${groups.join()}`, () => {
      const resolve = (): object => resolveUser({ user, groups, passwd, group });
      if (typeof expected === 'string') expect(resolve).to.throw(expected);
      else expect(resolve()).to.deep.equal(expected);
    });
  }
});

describe('the environment', () => {
  it('has defaults, later entries win, a bare name takes away', () => {
    expect(
      environmentOf({
        hostname: 'box',
        home: '/root',
        tty: true,
        given: [
          ['A=1', 'PATH=/x', 'B=2'],
          ['B=3=4', 'TERM', 'HOME=/h'],
        ],
      }),
    ).to.deep.equal(['PATH=/x', 'HOSTNAME=box', 'A=1', 'B=3=4', 'HOME=/h']);
  });
});

describe('name files', () => {
  const network = {
    mode: 'routed' as const,
    interfaces: [
      {
        name: 'eth0',
        hostName: 'v',
        address: '10.0.0.5',
        gateway: '169.254.1.1',
        subnet: '10.0.0.0/16',
        defaultRoute: true,
        mtu: 1450,
      },
    ],
    nameservers: ['169.254.1.1'],
    searchDomains: ['a.b'],
    resolverOptions: ['ndots:0'],
    hosts: ['10.9.9.9 db db2'],
  };
  it('name the container and whom it asks', () => {
    const files = nameFilesOf(
      { hostname: 'box', network },
      { hosts: '', resolvConf: 'nameserver 1.1.1.1\n' },
    );
    expect(files.hosts).to.contain('127.0.0.1\tlocalhost\n').and.contain('10.0.0.5\tbox\n10.9.9.9\tdb db2\n');
    expect(files.resolvConf).to.equal('search a.b\nnameserver 169.254.1.1\noptions ndots:0\n');
  });
  it('are the node`s own in its network', () => {
    const files = nameFilesOf(
      {
        hostname: 'box',
        network: {
          ...network,
          mode: 'host',
          interfaces: [],
          nameservers: [],
          searchDomains: [],
          resolverOptions: [],
          hosts: [],
        },
      },
      { hosts: '127.0.0.1 node\n', resolvConf: 'nameserver 1.1.1.1\n' },
    );
    expect(files).to.deep.equal({
      hostname: 'box\n',
      hosts: '127.0.0.1 node\n',
      resolvConf: 'nameserver 1.1.1.1\n',
    });
  });
  it('take no second line', () => {
    expect(() =>
      nameFilesOf(
        { hostname: 'box', network: { ...network, hosts: ['1.1.1.1 a\n2.2.2.2 b'] } },
        { hosts: '', resolvConf: '' },
      ),
    ).to.throw('line break');
  });
});

describe('signals', () => {
  for (const [text, number] of [
    ['SIGTERM', 15],
    ['term', 15],
    ['9', 9],
    ['RTMIN+3', 37],
    ['SIGRTMAX', 64],
  ] as const) {
    it(text, () => expect(signalNumber(text)).to.equal(number));
  }
  for (const text of ['', '0', '65', 'SIGNOPE', 'RTMIN+40', '1e1']) {
    it(`none is "${text}"`, () => expect(() => signalNumber(text)).to.throw('invalid signal'));
  }
});

describe('ulimits', () => {
  const limits = parseNodeLimits({
    limits:
      'Limit  Soft Limit  Hard Limit  Units\nMax open files            20000                20000                files\nMax processes             unlimited            unlimited            processes\n',
    status: 'CapEff:\t000001fffeffffff\n',
    oomScoreAdj: '0\n',
  });
  it('are lowered to what the node may give', () => {
    expect(limits.mayRaise).to.equal(false);
    expect(
      planUlimits(
        [
          { name: 'nofile', soft: 1024, hard: -1 },
          { name: 'nproc', soft: -1, hard: -1 },
        ],
        limits,
      ),
    ).to.deep.equal([
      { kind: 'rlimit', name: 'nofile', soft: 1024n, hard: 20_000n },
      { kind: 'rlimit', name: 'nproc', soft: -1n, hard: -1n },
    ]);
  });
  it('are refused when they make no sense', () => {
    expect(() => planUlimits([{ name: 'nofile', soft: 10, hard: 5 }], limits)).to.throw('soft limit');
    expect(() => planUlimits([{ name: 'speed', soft: 1, hard: 1 }], limits)).to.throw('invalid ulimit type');
  });
});
