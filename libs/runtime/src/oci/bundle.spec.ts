import { expect } from 'chai';
import type { LaunchOperation } from '../launcher/launch-plan.js';
import { encodeLaunchPlan } from '../launcher/plan-codec.js';
import { readMountOptions } from './bundle-mounts.js';
import { readDeviceRules, readResources } from './bundle-resources.js';
import { planBundle, planBundleExec, type BundleContext } from './bundle.js';
import { execProcess } from './exec-process.js';
import { Field } from './field.js';

const context: BundleContext = {
  id: 'c1',
  bundle: '/bundle',
  noPivot: false,
  noNewKeyring: false,
  layout: { version: 2, root: '/sys/fs/cgroup' },
  cpuset: {},
  node: { architecture: 'amd64', kernelRelease: '6.1.0' },
  homeOf: (uid) => (uid === 0 ? '/root' : '/'),
};

type Json = Record<string, unknown>;

function configOf(change: { process?: Json; linux?: Json } & Json = {}): Json {
  const { process, linux, ...rest } = change;
  return {
    ociVersion: '1.2.0',
    root: { path: 'rootfs' },
    process: { cwd: '/', args: ['sh'], ...process },
    linux: { namespaces: ['mount', 'pid', 'ipc', 'uts', 'network'].map((type) => ({ type })), ...linux },
    ...rest,
  };
}

function operationsOf(
  change: Parameters<typeof configOf>[0],
  changed: Partial<BundleContext> = {},
): readonly LaunchOperation[] {
  const plan = planBundle(configOf(change), { ...context, ...changed });
  // Whatever is planned can also be sent.
  encodeLaunchPlan(plan);
  return plan.operations;
}

function ofKind<K extends LaunchOperation['kind']>(
  operations: readonly LaunchOperation[],
  kind: K,
): Extract<LaunchOperation, { kind: K }>[] {
  return operations.filter((one): one is Extract<LaunchOperation, { kind: K }> => one.kind === kind);
}

describe('bundle', () => {
  it('becomes a plan in the order of the specification', () => {
    const operations = operationsOf({
      hostname: 'h',
      mounts: [{ destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid'] }],
      hooks: { poststop: [{ path: '/bin/p' }], prestart: [{ path: '/bin/q', args: ['q', '1'], timeout: 3 }] },
      annotations: { a: 'b' },
      process: {
        terminal: true,
        noNewPrivileges: true,
        user: { uid: 1, gid: 2, umask: 0o77 },
        oomScoreAdj: 5,
      },
      linux: { maskedPaths: ['/proc/keys'], readonlyPaths: ['/proc/sys'], rootfsPropagation: 'rslave' },
    });
    expect(
      operations.map(({ kind }) => kind).filter((kind) => kind !== 'device' && kind !== 'symlink'),
    ).to.deep.equal([
      'oci-state',
      'hook',
      'hook',
      'cgroup-directory',
      'cgroup-join',
      'namespaces',
      'stdio',
      'root-propagation',
      'bind-root',
      'mount',
      'console',
      'mask',
      'read-only-path',
      'pivot-root',
      'mounted-root-propagation',
      'hostname',
      'loopback',
      'oom-score',
      'no-new-privileges',
      'capabilities',
      'user',
      'umask',
      'workdir',
      'environment',
      'exec',
    ]);
    expect(ofKind(operations, 'bind-root')).to.deep.equal([
      { kind: 'bind-root', source: '/bundle/rootfs', mountPoint: '/bundle/rootfs' },
    ]);
    expect(
      ofKind(operations, 'hook').map(({ stage, args, timeoutSeconds }) => [stage, args, timeoutSeconds]),
    ).to.deep.equal([
      ['prestart', ['q', '1'], 3],
      ['poststop', ['/bin/p'], 0],
    ]);
    expect(ofKind(operations, 'oci-state')).to.deep.equal([
      { kind: 'oci-state', ociVersion: '1.2.0', bundle: '/bundle', annotations: '{"a":"b"}' },
    ]);
    expect(ofKind(operations, 'cgroup-join')).to.deep.equal([
      { kind: 'cgroup-join', path: '/sys/fs/cgroup/enxame-runtime-c1', version: 2 },
    ]);
  });

  const refusals: [name: string, change: Parameters<typeof configOf>[0], words: string][] = [
    ['a version that is not 1.x', { ociVersion: '2.0.0' }, 'ociVersion: "2.0.0" must be a version 1.x.y'],
    ['no program', { process: { args: [] } }, 'process.args: must name a program'],
    ['a relative working directory', { process: { cwd: 'x' } }, 'process.cwd: must be an absolute path: "x"'],
    [
      'a user id that is a name',
      { process: { user: { uid: 'root' } } },
      'process.user.uid: must be a whole number',
    ],
    [
      'a limit twice',
      {
        process: {
          rlimits: [
            { type: 'RLIMIT_CPU', soft: 1, hard: 1 },
            { type: 'RLIMIT_CPU', soft: 1, hard: 1 },
          ],
        },
      },
      'process.rlimits[1].type: RLIMIT_CPU is there twice',
    ],
    [
      'an unknown limit',
      { process: { rlimits: [{ type: 'RLIMIT_X', soft: 1, hard: 1 }] } },
      'process.rlimits[0].type: "RLIMIT_X" is no limit of Linux',
    ],
    ['a NUL byte', { process: { args: ['a\0b'] } }, 'process.args[0]: must not hold a NUL byte'],
    [
      'no mount namespace',
      { linux: { namespaces: [] } },
      'linux.namespaces: a container needs a mount namespace',
    ],
    [
      'a namespace twice',
      { linux: { namespaces: [{ type: 'mount' }, { type: 'pid' }, { type: 'pid' }] } },
      'linux.namespaces[2]: "pid" is there twice',
    ],
    [
      'ids without a user namespace',
      { linux: { namespaces: [{ type: 'mount' }], uidMappings: [{ containerID: 0, hostID: 1, size: 1 }] } },
      'linux.uidMappings: there is no user namespace to map ids in',
    ],
    [
      'a sysctl of the node',
      { linux: { sysctl: { 'vm.swappiness': '1' } } },
      'linux.sysctl.vm.swappiness: is not kept in a namespace of this container',
    ],
    [
      'a host name without a uts namespace',
      { hostname: 'h', linux: { namespaces: [{ type: 'mount' }] } },
      'hostname: there is no uts namespace to set it in',
    ],
    [
      'the root of the cgroups',
      { linux: { cgroupsPath: '/' } },
      'linux.cgroupsPath: must lie below the root of the cgroups',
    ],
    [
      'cgroups above the root',
      { linux: { cgroupsPath: '/a/../../b' } },
      'linux.cgroupsPath: must lie below the root of the cgroups',
    ],
    [
      "a place of systemd's",
      { linux: { cgroupsPath: 'user.slice:libpod:c1' } },
      'linux.cgroupsPath: this is a place of systemd, which is not asked here',
    ],
    [
      'a relative hook',
      { hooks: { prestart: [{ path: 'x' }] } },
      'hooks.prestart[0].path: must be an absolute path: "x"',
    ],
    [
      'a hook without time',
      { hooks: { poststart: [{ path: '/x', timeout: 0 }] } },
      'hooks.poststart[0].timeout: must be over 0',
    ],
    [
      'an idmapped mount',
      { mounts: [{ destination: '/d', source: '/s', options: ['rbind', 'idmap'] }] },
      'mounts[0].options[1]: not available in this version',
    ],
    [
      'a label of SELinux',
      { process: { selinuxLabel: 'x' } },
      'process.selinuxLabel: not available in this version',
    ],
    [
      'limits of huge pages',
      { linux: { resources: { hugepageLimits: [{ pageSize: '2MB', limit: 1 }] } } },
      'linux.resources.hugepageLimits: not available in this version',
    ],
    [
      'a seccomp action that needs a listener',
      { linux: { seccomp: { defaultAction: 'SCMP_ACT_NOTIFY' } } },
      'invalid seccomp profile: defaultAction must be one of',
    ],
  ];
  for (const [name, change, words] of refusals) {
    it(`refuses ${name} and names the field`, () => {
      expect(() => operationsOf(change)).to.throw(words);
    });
  }

  it('sorts mount options into flags, propagation and what is the file system’s own', () => {
    const read = (...options: string[]) => readMountOptions(new Field(options, 'o'));
    const plain = {
      bind: false,
      flags: [],
      flagsRecursive: false,
      propagation: undefined,
      copyUp: false,
      data: [],
    };
    expect(read('nosuid', 'ro', 'size=1k', 'mode=755', 'rw')).to.deep.equal({
      ...plain,
      flags: ['nosuid'],
      data: ['size=1k', 'mode=755'],
    });
    expect(read('rbind', 'rprivate', 'rro')).to.deep.equal({
      ...plain,
      bind: 'rbind',
      flags: ['read-only'],
      flagsRecursive: true,
      propagation: 'rprivate',
    });
    expect(read('tmpcopyup', 'defaults', 'nodev')).to.deep.equal({
      ...plain,
      flags: ['nodev'],
      copyUp: true,
    });
  });

  it('reads device rules as what is allowed after the last', () => {
    const rules = (...list: Json[]) => readDeviceRules(new Field(list, 'd'));
    const nothing = { allow: false, access: 'rwm' };
    expect(rules()).to.equal('all');
    expect(rules(nothing)).to.deep.equal([]);
    expect(rules(nothing, { allow: true, type: 'c', major: 10, minor: 229, access: 'rw' })).to.deep.equal([
      'c 10:229 rw',
    ]);
    expect(
      rules(nothing, { allow: true, type: 'b', major: 8, access: 'r' }, { allow: true, access: 'rwm' }),
    ).to.equal('all');
    expect(rules(nothing, { allow: true, major: 1, minor: 3 })).to.deep.equal(['b 1:3 rwm', 'c 1:3 rwm']);
    expect(() => rules({ allow: false, type: 'c', major: 1, minor: 3 })).to.throw(
      'd[0]: one device cannot be denied',
    );
  });

  it('limits memory without swap only when swap is named', () => {
    const read = (memory: Json) => readResources(new Field({ memory }, 'r'));
    expect(read({ limit: 100 })).to.deep.equal({ memoryBytes: 100, memorySwapBytes: -1 });
    expect(read({ limit: 100, swap: 150 })).to.deep.equal({ memoryBytes: 100, memorySwapBytes: 150 });
    expect(read({})).to.deep.equal({});
  });

  it('gives a user namespace the node’s devices, since it may make none', () => {
    const operations = operationsOf({
      linux: {
        namespaces: [{ type: 'mount' }, { type: 'user' }],
        uidMappings: [{ containerID: 0, hostID: 100_000, size: 65_536 }],
        gidMappings: [{ containerID: 0, hostID: 200_000, size: 10 }],
      },
    });
    expect(ofKind(operations, 'id-maps')).to.deep.equal([
      { kind: 'id-maps', uids: '0 100000 65536\n', gids: '0 200000 10\n' },
    ]);
    expect(ofKind(operations, 'device')).to.deep.equal([]);
    expect(ofKind(operations, 'bind').map(({ source }) => source)).to.include('/dev/null');
  });

  it('joins what has a path and makes the rest', () => {
    const operations = operationsOf({
      linux: { namespaces: [{ type: 'mount' }, { type: 'network', path: '/run/netns/n' }, { type: 'pid' }] },
    });
    expect(ofKind(operations, 'namespaces')).to.deep.equal([
      { kind: 'namespaces', pid: true, network: false, ipc: false, mount: true, uts: false, cgroup: false },
    ]);
    expect(ofKind(operations, 'join-namespace')).to.deep.equal([
      { kind: 'join-namespace', namespace: 'network', path: '/run/netns/n' },
    ]);
    expect(ofKind(operations, 'loopback')).to.deep.equal([]);
  });

  it('plans an exec from the container’s process and what the command line changes', () => {
    const config = configOf({
      process: { env: ['A=1'], user: { uid: 3 }, capabilities: { bounding: ['CAP_KILL'] } },
    });
    const process = execProcess(new Field(config, '').at('process'), ['id'], {
      user: '5:6',
      env: ['B=2'],
      cap: ['CAP_CHOWN'],
    });
    const { operations } = planBundleExec(config, new Field(process, 'process'), context);
    expect(ofKind(operations, 'user')).to.deep.equal([{ kind: 'user', uid: 5, gid: 6, groups: [] }]);
    expect(ofKind(operations, 'environment')).to.deep.equal([
      { kind: 'environment', variables: ['A=1', 'B=2', 'HOME=/'] },
    ]);
    expect(ofKind(operations, 'exec')).to.deep.equal([{ kind: 'exec', argv: ['id'] }]);
    expect(ofKind(operations, 'capabilities')[0]?.bounding).to.equal((1n << 5n) | 1n);
  });
});
