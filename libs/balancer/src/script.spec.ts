import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { diffPrograms, readGeneration, removalScript } from './index.js';
import type { BalancerProgram } from './index.js';

const base: BalancerProgram = {
  tag: 'spec',
  generation: 7,
  address: '192.0.2.1',
  linkLocalGateway: '169.254.1.1',
  markBase: 0x0e000000,
  dataPathPort: 4789,
  devicePrefix: { overlay: 'xspec-', container: 'e1234-' },
  networks: [{ subnet: '10.0.0.0/16', internal: false }],
  localNetworks: [{ subnet: '172.17.0.0/16', internal: false }],
  peers: [{ address: '192.0.2.2', macAddress: '02:65:6e:78:00:02', mark: 0x0e000002 }],
  virtualAddresses: [
    { serviceId: 'web', networkId: 'front', address: '10.0.0.9', backends: ['10.0.1.5', '10.0.2.5'] },
  ],
  publishedPorts: [
    { protocol: 'tcp', publishedPort: 8080, targetPort: 80, backends: ['10.0.1.5', '10.0.2.5'] },
  ],
  localBackends: ['10.0.1.5'],
};

function withBackends(backends: string[], rest: Partial<BalancerProgram> = {}): BalancerProgram {
  return {
    ...base,
    virtualAddresses: base.virtualAddresses.map((vip) => ({ ...vip, backends })),
    publishedPorts: base.publishedPorts.map((port) => ({ ...port, backends })),
    ...rest,
  };
}

describe('diffPrograms', () => {
  it('says nothing when nothing differs, whatever the order of lists', () => {
    const networks = [{ subnet: '10.1.0.0/16', internal: true }, ...base.networks];
    const one = { ...base, networks };
    expect(diffPrograms(base, structuredClone(base))).to.equal('');
    expect(diffPrograms(one, { ...one, networks: [...networks].reverse() })).to.equal('');
    expect(diffPrograms(base, { ...base, generation: 8 })).to.equal('');
  });

  it('changes only the chains whose backends changed', () => {
    const next = withBackends(['10.0.2.5', '10.0.3.5'], { generation: 8, localBackends: [] });
    expect(diffPrograms(base, next).split('\n')).to.deep.equal([
      'flush chain ip enxame_spec vip_web_front',
      'add rule ip enxame_spec vip_web_front dnat ip to numgen inc mod 2 map { 0 : 10.0.2.5, 1 : 10.0.3.5 }',
      'add rule ip enxame_spec vip_web_front dnat to 10.0.2.5',
      'flush chain ip enxame_spec port_tcp_8080',
      'add rule ip enxame_spec port_tcp_8080 meta l4proto tcp dnat ip to numgen inc mod 2 map ' +
        '{ 0 : 10.0.2.5 . 80, 1 : 10.0.3.5 . 80 }',
      'add rule ip enxame_spec port_tcp_8080 meta l4proto tcp dnat to 10.0.2.5:80',
      'delete element ip enxame_spec generation { 0x00000000 . 0x00000007 }',
      'delete element ip enxame_spec hairpin { 10.0.1.5 . 10.0.1.5 }',
      'add element ip enxame_spec generation { 0x00000000 . 0x00000008 }',
      '',
    ]);
  });

  it('keeps an address without endpoints taken, so that it is refused and not passed on', () => {
    expect(diffPrograms(base, withBackends([], { localBackends: ['10.0.1.5'] })).split('\n')).to.deep.equal([
      'delete element ip enxame_spec virtual_addresses { 10.0.0.9 : goto vip_web_front }',
      'delete element ip enxame_spec published_ports { tcp . 8080 : goto port_tcp_8080 }',
      'flush chain ip enxame_spec vip_web_front',
      'delete chain ip enxame_spec vip_web_front',
      'flush chain ip enxame_spec port_tcp_8080',
      'delete chain ip enxame_spec port_tcp_8080',
      '',
    ]);
  });

  it('builds the table anew when the fixed part differs', () => {
    expect(diffPrograms(base, { ...base, address: '192.0.2.3' })).to.match(
      /^add table ip enxame_spec\ndelete table ip enxame_spec\ntable ip enxame_spec \{/,
    );
  });
});

describe('readGeneration', () => {
  const set = (concat: unknown): string =>
    JSON.stringify({ nftables: [{ metainfo: {} }, { set: { name: 'generation', elem: [{ concat }] } }] });
  const cases: [string, string, number | undefined][] = [
    ['a small one', set([0, 7]), 7],
    ['one above 32 bits', set([3, 5]), 3 * 2 ** 32 + 5],
    ['an empty set', JSON.stringify({ nftables: [{ set: { name: 'generation' } }] }), undefined],
    ['no output', '', undefined],
    ['other text', '[1]', undefined],
  ];
  for (const [name, json, expected] of cases) {
    it(name, () => expect(readGeneration(json)).to.equal(expected));
  }
});

describe('the kernel takes every script', function () {
  this.timeout(20_000);
  const namespace = `enxtest-${process.pid}-nft`;
  const folder = mkdtempSync(join(tmpdir(), 'enxtest-nft-'));
  const file = join(folder, 'script.nft');
  const nft = (...args: string[]): string =>
    execFileSync('ip', ['netns', 'exec', namespace, 'nft', ...args], { encoding: 'utf8', stdio: 'pipe' });
  const run = (script: string): void => {
    writeFileSync(file, script);
    if (script !== '') nft('-f', file);
  };
  const listing = (): string => nft('list', 'ruleset').replaceAll(/^\s*(counter|handle).*$/gm, '');

  before(() => execFileSync('ip', ['netns', 'add', namespace]));
  after(() => {
    execFileSync('ip', ['netns', 'del', namespace]);
    rmSync(folder, { recursive: true });
  });

  /** Deterministic choices: the same seed walks the same programs. */
  function walk(seed: number): () => number {
    let state = seed;
    return () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state / 2 ** 32;
    };
  }

  function randomProgram(random: () => number, generation: number): BalancerProgram {
    const some = <T>(items: readonly T[]): T[] => items.filter(() => random() < 0.6);
    const backends = (): string[] => some(['10.0.1.5', '10.0.1.6', '10.0.2.5', '10.1.1.5']);
    return {
      ...base,
      generation,
      networks: some(['10.0.0.0/16', '10.1.0.0/16', '10.2.0.0/24']).map((subnet) => ({
        subnet,
        internal: random() < 0.5,
      })),
      localNetworks: some([
        { subnet: '172.17.0.0/16', internal: false },
        { subnet: '172.18.0.0/16', internal: true },
      ]),
      peers: some([2, 3, 4]).map((index) => ({
        address: `192.0.2.${index}`,
        macAddress: `02:65:6e:78:00:0${index}`,
        mark: 0x0e000000 | index,
      })),
      virtualAddresses: some(['web', 'api', 'db']).map((serviceId, index) => ({
        serviceId,
        networkId: 'front',
        address: `10.0.0.${index + 9}`,
        backends: backends(),
      })),
      publishedPorts: some([80, 443, 8080]).map((publishedPort) => ({
        protocol: (['tcp', 'udp', 'sctp'] as const)[Math.floor(random() * 3)] ?? 'tcp',
        publishedPort,
        targetPort: 80,
        backends: backends(),
        ...(random() < 0.5 ? { address: '127.0.0.1' } : {}),
      })),
      localBackends: backends(),
    };
  }

  it('deltas lead to the same rules as building the table anew', () => {
    const seed = 20_261_123;
    const random = walk(seed);
    let current = randomProgram(random, 1);
    run(diffPrograms(undefined, current));
    for (let step = 2; step < 25; step++) {
      const next = randomProgram(random, step * 2 ** 30);
      run(diffPrograms(current, next));
      current = next;
    }
    // What was made later is listed later; the order of chains and elements has no meaning.
    const sortElements = (part: string): string =>
      part.replace(/elements = \{([^}]*)\}/, (_whole, elements: string) => {
        const list = elements.split(',').map((element) => element.trim());
        return `elements = { ${list.sort().join(', ')} }`;
      });
    const sorted = (text: string): string[] =>
      text
        .split(/\n(?=\t(?:chain|set|map) )/)
        .map((part) => sortElements(part.trim().replace(/\}\n*\}$/, '}')))
        .sort();
    const byDeltas = sorted(listing());
    run(diffPrograms(undefined, current));
    expect(byDeltas, `seed ${seed}`).to.deep.equal(sorted(listing()));
    expect(readGeneration(nft('-j', 'list', 'set', 'ip', 'enxame_spec', 'generation'))).to.equal(
      24 * 2 ** 30,
    );
    run(removalScript('spec'));
    expect(listing().trim()).to.equal('');
    run(removalScript('spec'));
  });

  it('takes a large program', () => {
    const backends = Array.from({ length: 1000 }, (_, index) => `10.0.${1 + (index >> 8)}.${index & 255}`);
    const virtualAddresses = Array.from({ length: 1000 }, (_, index) => ({
      serviceId: `s${index}`,
      networkId: 'front',
      address: `10.0.200.${index & 255}`.replace('200', String(200 + (index >> 8))),
      backends: index === 0 ? backends : backends.slice(index % 900, (index % 900) + 5),
    }));
    run(diffPrograms(undefined, { ...base, virtualAddresses, localBackends: backends }));
    expect(nft('list', 'chain', 'ip', 'enxame_spec', 'vip_s0_front')).to.include('mod 1000');
    run(removalScript('spec'));
  });
});
