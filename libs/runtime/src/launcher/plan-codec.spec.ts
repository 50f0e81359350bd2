import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import type { LaunchOperation } from './launch-plan.js';
import { encodeLaunchPlan, operationFields } from './plan-codec.js';
import { FrameReader, encodeFrame, PayloadReader } from './wire.js';

/** One of each, so that a kind without a row here does not compile. */
const samples: { [K in LaunchOperation['kind']]: Extract<LaunchOperation, { kind: K }> } = {
  'cgroup-directory': { kind: 'cgroup-directory', path: '/c' },
  'cgroup-write': { kind: 'cgroup-write', path: '/c/f', value: '1', optional: true },
  'cgroup-join': { kind: 'cgroup-join', path: '/c', version: 2 },
  'device-program': { kind: 'device-program', path: '/c', program: Buffer.from([1, 2]) },
  namespaces: {
    kind: 'namespaces',
    pid: true,
    network: false,
    ipc: true,
    mount: true,
    uts: false,
    cgroup: true,
  },
  stdio: { kind: 'stdio', tty: true, stdin: false, stdinOnce: true, rows: 1, columns: 2 },
  log: { kind: 'log', path: '/l', fileBytesMax: 1, filesMax: 2 },
  'oom-file': { kind: 'oom-file', path: '/o' },
  interface: {
    kind: 'interface',
    hostName: 'h',
    name: 'eth0',
    address: '10.0.0.1',
    mtu: 1500,
    routes: [{ destination: '10.0.0.0/8' }],
  },
  'host-sysctl': { kind: 'host-sysctl', name: 'n', value: 'v' },
  'root-propagation': { kind: 'root-propagation', propagation: 'slave' },
  'overlay-root': {
    kind: 'overlay-root',
    lowerDirs: ['/a', '/b'],
    upperDir: '/u',
    workDir: '/w',
    mountPoint: '/m',
    options: [],
  },
  'bind-root': { kind: 'bind-root', source: '/s', mountPoint: '/m' },
  mount: {
    kind: 'mount',
    type: 'tmpfs',
    source: 'tmpfs',
    target: '/t',
    flags: ['read-only', 'nosuid'],
    options: ['size=1'],
  },
  bind: { kind: 'bind', source: '/s', target: '/t', recursive: true, flags: [], propagation: 'rslave' },
  device: { kind: 'device', path: '/d', type: 'block', major: 1, minor: 3, mode: 0o666, uid: 0, gid: 5 },
  symlink: { kind: 'symlink', path: '/p', target: 't' },
  directory: { kind: 'directory', path: '/p', mode: 0o755, uid: 1, gid: 2 },
  file: { kind: 'file', path: '/p', data: Buffer.from('\0'), mode: 0o644, uid: 1, gid: 2 },
  'memory-file': { kind: 'memory-file', path: '/p', data: Buffer.from('s'), mode: 0o400, uid: 1, gid: 2 },
  console: { kind: 'console' },
  mask: { kind: 'mask', path: '/p' },
  'read-only-path': { kind: 'read-only-path', path: '/p' },
  'pivot-root': { kind: 'pivot-root', readOnly: true },
  hostname: { kind: 'hostname', name: 'h', domainName: 'd' },
  sysctl: { kind: 'sysctl', name: 'n', value: 'v', optional: false },
  loopback: { kind: 'loopback' },
  'oom-score': { kind: 'oom-score', value: -5 },
  rlimit: { kind: 'rlimit', name: 'nofile', soft: 1n, hard: -1n },
  'no-new-privileges': { kind: 'no-new-privileges' },
  capabilities: { kind: 'capabilities', bounding: 1n, effective: 2n, permitted: 3n, inheritable: 0n },
  user: { kind: 'user', uid: 1, gid: 2, groups: [3, 4] },
  seccomp: { kind: 'seccomp', program: Buffer.alloc(8) },
  workdir: { kind: 'workdir', path: '/', create: true },
  environment: { kind: 'environment', variables: ['A=b'] },
  init: { kind: 'init' },
  exec: { kind: 'exec', argv: ['a', 'b'] },
  'join-namespace': { kind: 'join-namespace', namespace: 'network', path: '/proc/1/ns/net' },
  'id-maps': { kind: 'id-maps', uids: '0 1000 1', gids: '0 1000 1' },
  hook: { kind: 'hook', stage: 'poststop', path: '/h', args: ['h'], environment: ['A=b'], timeoutSeconds: 0 },
  'oci-state': { kind: 'oci-state', ociVersion: '1.2.0', bundle: '/b', annotations: '{}' },
  umask: { kind: 'umask', mask: 0o22 },
  'mounted-root-propagation': { kind: 'mounted-root-propagation', propagation: 'slave' },
  'no-keyring': { kind: 'no-keyring' },
  'foreign-runtime': { kind: 'foreign-runtime', program: '/p', root: '/r', bundle: '/b' },
  'foreign-process': { kind: 'foreign-process', path: '/f' },
};

/** The C program's table, read from its source: `[OP_X] = {FIELD(STRING, ...), ...}`. */
function nativeTable(): Map<number, { kind: string; types: string[] }> {
  let folder = import.meta.dirname;
  if (folder.includes('/dist/')) folder = folder.replace('/dist/', '/');
  const native = join(folder, '../../native/src');
  const numbers = [
    ...readFileSync(join(native, 'plan.h'), 'utf8').matchAll(/^ {2}OP_([A-Z_]+)(?: = 1)?,$/gm),
  ];
  const rows = readFileSync(join(native, 'plan.c'), 'utf8');
  return new Map(
    numbers
      .map((match) => match[1] ?? '')
      .filter((name) => name !== 'KIND_END')
      .map((name, index) => {
        const row = new RegExp(`\\[OP_${name}\\] = \\{([^;]*?)\\},\\n`).exec(rows)?.[1] ?? 'absent';
        const types = [...row.matchAll(/FIELD\((\w+),/g)].map((match) => match[1] ?? '');
        return [index + 1, { kind: name.toLowerCase().replaceAll('_', '-'), types }] as const;
      }),
  );
}

function typeOf(value: unknown): string {
  if (typeof value === 'bigint') return 'NUMBER';
  if (typeof value === 'string') return 'STRING';
  return Buffer.isBuffer(value) ? 'BYTES' : 'STRINGS';
}

describe('plan codec', () => {
  it('agrees with the table of the C program about every operation', () => {
    const ours = new Map(
      Object.values(samples).map((operation) => {
        const { opcode, fields } = operationFields(operation);
        return [opcode, { kind: operation.kind as string, types: fields.map(typeOf) }] as const;
      }),
    );
    expect(Object.fromEntries(ours)).to.deep.equal(Object.fromEntries(nativeTable()));
  });

  it('refuses what the kernel would misread', () => {
    const shim = { socketPath: '/s', exitPath: '/e', held: false };
    const encode = (operation: LaunchOperation) =>
      encodeLaunchPlan({ id: 'a', shim, operations: [operation] });
    expect(() => encode({ kind: 'mask', path: '/proc\0/x' })).to.throw('mask: a NUL byte in "/proc\\0/x"');
    expect(() => encode({ kind: 'oom-score', value: 0.5 })).to.throw('0.5 is no whole number');
  });

  it('reads frames however they are cut, and refuses one that is too long', () => {
    const whole = Buffer.concat([
      encodeFrame(1, Buffer.from('abc')),
      encodeFrame(2),
      encodeFrame(3, Buffer.from('d')),
    ]);
    for (let size = 1; size <= whole.length; size++) {
      const reader = new FrameReader();
      const frames: string[] = [];
      for (let at = 0; at < whole.length; at += size) {
        for (const frame of reader.push(whole.subarray(at, at + size)))
          frames.push(`${frame.type}${frame.payload}`);
      }
      expect(frames).to.deep.equal(['1abc', '2', '3d']);
    }
    expect(() => new FrameReader().push(Buffer.from('ffffffff00000000', 'hex'))).to.throw(
      'a frame of 4294967295 bytes',
    );
    expect(() => new PayloadReader(Buffer.from([9, 0, 0, 0, 1])).text()).to.throw(RangeError);
  });
});
