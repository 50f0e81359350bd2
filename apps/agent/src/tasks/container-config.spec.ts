import type { ImageRunConfig } from '#libs/images';
import {
  EnxameError,
  type ContainerId,
  type ContainerSpec,
  type NetworkId,
  type NodeId,
  type RevisionId,
  type RevisionItem,
  type ServiceId,
  type TaskId,
  type TaskItem,
  type TaskSpec,
} from '#libs/model';
import type { ContainerConfig } from '#libs/runtime';
import { expect } from 'chai';
import { containerConfigOf, volumesOf } from './container-config.js';
import { expandTemplate } from './templates.js';

const task: TaskItem = {
  kind: 'task',
  id: 'task1' as TaskId,
  serviceId: 'svc1' as ServiceId,
  revisionId: 'rev1' as RevisionId,
  slot: 3,
  networks: [{ networkId: 'net1' as NetworkId, address: '10.1.1.5' }],
  desiredState: 'running',
};
const node = { id: 'node1' as NodeId, hostname: 'host-1', os: 'linux', architecture: 'x86_64' };
const containerId = 'c'.repeat(64) as ContainerId;

function revisionOf(spec: Partial<ContainerSpec>, more: Partial<TaskSpec> = {}): RevisionItem {
  return {
    kind: 'revision',
    id: task.revisionId,
    serviceId: task.serviceId,
    serviceName: 'web',
    serviceLabels: { tier: 'front' },
    taskTemplate: { ContainerSpec: { Image: 'demo:1', ...spec }, ...more },
  };
}

function configOf(
  spec: Partial<ContainerSpec>,
  options: { image?: ImageRunConfig; task?: Partial<TaskItem>; more?: Partial<TaskSpec> } = {},
): ContainerConfig {
  return containerConfigOf({
    task: { ...task, ...options.task },
    revision: revisionOf(spec, options.more),
    node,
    containerId,
    createdAtMs: 5,
    image: { id: 'sha256:1' as never, config: { Cmd: ['/serve'], ...options.image } },
    rootLayers: ['/layers/2', '/layers/1'],
    network: { interfaces: [], nameservers: ['169.254.1.1'] },
    volumeSource: (name) => `/volumes/${name}/_data`,
  });
}

describe('container configuration', () => {
  it('is whole with every default filled in', () => {
    expect(configOf({})).to.deep.equal({
      id: containerId,
      name: 'web.3.task1',
      labels: {
        'com.docker.swarm.node.id': 'node1',
        'com.docker.swarm.service.id': 'svc1',
        'com.docker.swarm.service.name': 'web',
        'com.docker.swarm.task': '',
        'com.docker.swarm.task.id': 'task1',
        'com.docker.swarm.task.name': 'web.3.task1',
      },
      createdAtMs: 5,
      image: { id: 'sha256:1', reference: 'demo:1' },
      rootLayers: ['/layers/2', '/layers/1'],
      argv: ['/serve'],
      env: [],
      workdir: '/',
      user: '',
      groups: [],
      hostname: 'c'.repeat(12),
      tty: false,
      openStdin: false,
      stopSignal: 'SIGTERM',
      stopGraceMs: 10_000,
      readOnlyRootfs: false,
      init: false,
      mounts: [],
      resources: {},
      security: {
        capabilitiesAdd: [],
        capabilitiesDrop: [],
        seccomp: { mode: 'default' },
        noNewPrivileges: false,
        privileged: false,
      },
      network: {
        mode: 'routed',
        interfaces: [],
        nameservers: ['169.254.1.1'],
        searchDomains: [],
        resolverOptions: ['ndots:0'],
        hosts: [],
      },
      log: { fileBytesMax: 10_485_760, filesMax: 3 },
      oomScoreAdj: 0,
      ulimits: [],
      sysctls: {},
      shmBytes: 67_108_864,
    });
  });

  it("is in the node's own network when the service asks for it", () => {
    const { hostname, network } = configOf({}, { more: { Networks: [{ Target: 'host' }] } });
    expect({ hostname, mode: network.mode, nameservers: network.nameservers }).to.deep.equal({
      hostname: node.hostname,
      mode: 'host',
      nameservers: [],
    });
  });

  it('is named after the node for a task without a slot', () => {
    expect(configOf({}, { task: { slot: 0 } }).name).to.equal('web.node1.task1');
  });

  const argv: [what: string, spec: Partial<ContainerSpec>, image: ImageRunConfig, argv: string[]][] = [
    ["the image's entrypoint and command", {}, { Entrypoint: ['/e'], Cmd: ['c'] }, ['/e', 'c']],
    ['args replace the command', { Args: ['a'] }, { Entrypoint: ['/e'], Cmd: ['c'] }, ['/e', 'a']],
    ['a command replaces both', { Command: ['/x'] }, { Entrypoint: ['/e'], Cmd: ['c'] }, ['/x']],
    [
      'a command with args',
      { Command: ['/x'], Args: ['a'] },
      { Entrypoint: ['/e'], Cmd: ['c'] },
      ['/x', 'a'],
    ],
  ];
  for (const [what, spec, image, expected] of argv) {
    it(`runs ${what}`, () => expect(configOf(spec, { image }).argv).to.deep.equal(expected));
  }

  it("lays the service's environment over the image's, in place", () => {
    const config = configOf(
      { Env: ['B=2', 'NAME={{.Service.Name}}-{{.Task.Slot}}', 'C', 'A=x=y'] },
      { image: { Env: ['A=1', 'B=1', 'C=1', 'D=1'] } },
    );
    expect(config.env).to.deep.equal(['A=x=y', 'B=2', 'D=1', 'NAME=web-3']);
  });

  const health: [
    what: string,
    spec: ContainerSpec['Healthcheck'],
    image: ImageRunConfig['Healthcheck'],
    unknown,
  ][] = [
    ['none at all', undefined, undefined, undefined],
    [
      "the image's",
      undefined,
      { Test: ['CMD', 'x'], Interval: 2e9 },
      [['CMD', 'x'], 2000, 30_000, 0, 5000, 3],
    ],
    ['switched off', { Test: ['NONE'] }, { Test: ['CMD', 'x'] }, undefined],
    [
      "the service's test, the image's times",
      { Test: ['CMD', 'y'], Retries: 1 },
      { Test: ['CMD', 'x'], Timeout: 1e9 },
      [['CMD', 'y'], 30_000, 1000, 0, 5000, 1],
    ],
    [
      "the image's test, the service's times",
      { Interval: 5e8 },
      { Test: ['CMD', 'x'] },
      [['CMD', 'x'], 500, 30_000, 0, 5000, 3],
    ],
  ];
  for (const [what, spec, image, expected] of health) {
    it(`has ${what} as its health check`, () => {
      const { health: made } = configOf(
        spec ? { Healthcheck: spec } : {},
        image ? { image: { Healthcheck: image } } : {},
      );
      const values = made && [
        made.test,
        made.intervalMs,
        made.timeoutMs,
        made.startPeriodMs,
        made.startIntervalMs,
        made.retries,
      ];
      expect(values).to.deep.equal(expected);
    });
  }

  it('mounts in order of target, outer ones first, with anonymous volumes for what the image declares', () => {
    const spec: Partial<ContainerSpec> = {
      Mounts: [
        { Type: 'volume', Target: '/data/deep', Source: 'named-{{.Task.Slot}}', ReadOnly: true },
        { Type: 'bind', Target: '/data', Source: '/srv', BindOptions: { Propagation: 'rslave' } },
        { Type: 'tmpfs', Target: '/run', TmpfsOptions: { SizeBytes: 1024, Mode: 0o700 } },
        { Type: 'volume', Target: '/cache', VolumeOptions: { NoCopy: true } },
      ],
    };
    const image = { Volumes: { '/var/lib/x': {}, '/cache/': {} } };
    expect(configOf(spec, { image }).mounts).to.deep.equal([
      {
        type: 'volume',
        name: `${containerId}-cache`,
        source: `/volumes/${containerId}-cache/_data`,
        target: '/cache',
        readOnly: false,
        copyUp: false,
      },
      {
        type: 'bind',
        source: '/srv',
        target: '/data',
        readOnly: false,
        recursive: true,
        propagation: 'rslave',
      },
      {
        type: 'volume',
        name: 'named-3',
        source: '/volumes/named-3/_data',
        target: '/data/deep',
        readOnly: true,
        copyUp: true,
      },
      { type: 'tmpfs', target: '/run', readOnly: false, bytesMax: 1024, mode: 0o700 },
      {
        type: 'volume',
        name: `${containerId}-var-lib-x`,
        source: `/volumes/${containerId}-var-lib-x/_data`,
        target: '/var/lib/x',
        readOnly: false,
        copyUp: true,
      },
    ]);
    const volumes = volumesOf({
      task,
      revision: revisionOf(spec),
      node,
      containerId,
      image: { config: image },
    });
    expect(volumes.map(({ name, anonymous }) => [name.replace(containerId, ''), anonymous])).to.deep.equal([
      ['named-3', false],
      ['-cache', true],
      ['-var-lib-x', true],
    ]);
  });

  const refused: [what: string, make: () => unknown, words: string][] = [
    ['no command', () => configOf({}, { image: { Cmd: [] } }), 'no command specified'],
    [
      'a relative target',
      () => configOf({ Mounts: [{ Type: 'tmpfs', Target: 'x' }] }),
      'absolute path below /',
    ],
    [
      'the root as target',
      () => configOf({ Mounts: [{ Type: 'tmpfs', Target: '//' }] }),
      'absolute path below /',
    ],
    [
      'a relative bind source',
      () => configOf({ Mounts: [{ Type: 'bind', Target: '/x', Source: 'y' }] }),
      'must be an absolute path',
    ],
    [
      'cluster volumes',
      () => configOf({ Mounts: [{ Type: 'cluster', Target: '/x' }] }),
      'mounts of type cluster',
    ],
    [
      'an unknown template field',
      () => configOf({ Env: ['A={{.Task.Nmae}}'] }),
      '{{.Task.Nmae}}: not a known field',
    ],
    ['a long hostname', () => configOf({ Hostname: 'x'.repeat(64) }), 'at most 63 characters'],
    ['a plugin runtime', () => configOf({}, { more: { Runtime: 'plugin' } }), 'task runtime plugin'],
  ];
  for (const [what, make, words] of refused) {
    it(`refuses ${what}`, () => expect(make).to.throw(EnxameError, words));
  }

  const templates: [string, string][] = [
    ['plain', 'plain'],
    ['{{.Service.ID}}/{{ .Service.Name }}', 'svc1/web'],
    ['{{.Service.Labels.tier}}-{{index .Service.Labels "tier"}}-{{.Service.Labels.none}}', 'front-front-'],
    [
      '{{.Node.ID}} {{.Node.Hostname}} {{.Node.Platform.OS}}/{{.Node.Platform.Architecture}}',
      'node1 host-1 linux/x86_64',
    ],
    ['{{.Task.ID}} {{.Task.Name}} {{.Task.Slot}}', 'task1 web.3.task1 3'],
  ];
  for (const [text, expected] of templates) {
    it(`expands ${text}`, () => {
      const context = {
        service: { id: 'svc1', name: 'web', labels: { tier: 'front' } },
        node,
        task: { id: 'task1', name: 'web.3.task1', slot: 3 },
      };
      expect(expandTemplate(text, context)).to.equal(expected);
    });
  }
});
