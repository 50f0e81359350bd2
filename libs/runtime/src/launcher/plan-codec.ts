/**
 * Launch plans as bytes. One table says for every operation its number and its fields in wire order; the C decoder
 * (native/src/plan.c) has the same table. Numbers and truth values are 64 bits, strings carry their length.
 */
import { EnxameError } from '#libs/model';
import {
  hookStages,
  rlimitNumbers,
  type ExecPlan,
  type LaunchOperation,
  type LaunchPlan,
  type MountFlag,
} from './launch-plan.js';
import { bytes, text, u16, u32, u64 } from './wire.js';

export type FieldValue = bigint | string | readonly string[] | Buffer;

type Row<O> = { opcode: number; fields: (operation: O) => FieldValue[] };

type Table = {
  [K in LaunchOperation['kind']]: Row<Extract<LaunchOperation, { kind: K }>>;
};

const mountAttributes = {
  'read-only': 0x1,
  nosuid: 0x2,
  nodev: 0x4,
  noexec: 0x8,
  relatime: 0x0,
  noatime: 0x10,
  strictatime: 0x20,
  nosymfollow: 0x200000,
} as const satisfies Record<MountFlag, number>;

const propagationKinds = {
  private: 0n,
  rprivate: 0n,
  slave: 1n,
  rslave: 1n,
  shared: 2n,
  rshared: 2n,
} as const;

/** CLONE_NEW... */
const namespaceFlags = {
  pid: 0x20000000n,
  network: 0x40000000n,
  ipc: 0x08000000n,
  uts: 0x04000000n,
  cgroup: 0x02000000n,
} as const;

/** MS_UNBINDABLE, MS_SLAVE, MS_SHARED; with MS_REC. */
const recursiveMount = 1n << 14n;
const mountedRootFlags = {
  unbindable: 1n << 17n,
  runbindable: (1n << 17n) | recursiveMount,
  slave: 1n << 19n,
  rslave: (1n << 19n) | recursiveMount,
  shared: 1n << 20n,
  rshared: (1n << 20n) | recursiveMount,
} as const;

const deviceTypes = { character: 0n, block: 1n, fifo: 2n } as const;

function flagBits(flags: readonly MountFlag[]): bigint {
  return BigInt(flags.reduce((bits, flag) => bits | mountAttributes[flag], 0));
}

function truth(value: boolean): bigint {
  return value ? 1n : 0n;
}

function number(value: number): bigint {
  if (!Number.isSafeInteger(value))
    throw new EnxameError('invalid-argument', `launch plan: ${value} is no whole number`);
  return BigInt(value);
}

const table: Table = {
  'cgroup-directory': { opcode: 1, fields: (o) => [o.path] },
  'cgroup-write': { opcode: 2, fields: (o) => [o.path, o.value, truth(o.optional)] },
  'cgroup-join': { opcode: 3, fields: (o) => [o.path, number(o.version)] },
  namespaces: {
    opcode: 4,
    fields: (o) => [o.pid, o.network, o.ipc, o.mount, o.uts, o.cgroup].map(truth),
  },
  stdio: {
    opcode: 5,
    fields: (o) => [truth(o.tty), truth(o.stdin), truth(o.stdinOnce), number(o.rows), number(o.columns)],
  },
  log: { opcode: 6, fields: (o) => [o.path, number(o.fileBytesMax), number(o.filesMax)] },
  'oom-file': { opcode: 7, fields: (o) => [o.path] },
  interface: {
    opcode: 8,
    fields: (o) => [
      o.hostName,
      o.name,
      o.address,
      number(o.mtu),
      o.hostAddress ?? '',
      o.defaultGateway ?? '',
      o.routes.flatMap((route) => [route.destination, route.gateway ?? '']),
    ],
  },
  'host-sysctl': { opcode: 9, fields: (o) => [o.name, o.value] },
  'root-propagation': { opcode: 10, fields: (o) => [truth(o.propagation === 'slave')] },
  'overlay-root': {
    opcode: 11,
    fields: (o) => [o.lowerDirs, o.upperDir, o.workDir, o.mountPoint, o.options],
  },
  'bind-root': { opcode: 12, fields: (o) => [o.source, o.mountPoint] },
  mount: {
    opcode: 13,
    fields: (o) => [o.type, o.source, o.target, flagBits(o.flags), o.options, truth(o.copyUp ?? false)],
  },
  bind: {
    opcode: 14,
    fields: (o) => [
      o.source,
      o.target,
      truth(o.recursive),
      flagBits(o.flags),
      propagationKinds[o.propagation],
      truth(o.propagation.startsWith('r')),
      o.subpath ?? '',
      o.mountNamespace ?? '',
      truth(o.flagsRecursive ?? o.recursive),
    ],
  },
  device: {
    opcode: 15,
    fields: (o) => [
      o.path,
      deviceTypes[o.type],
      number(o.major),
      number(o.minor),
      number(o.mode),
      number(o.uid),
      number(o.gid),
    ],
  },
  symlink: { opcode: 16, fields: (o) => [o.path, o.target] },
  directory: { opcode: 17, fields: (o) => [o.path, number(o.mode), number(o.uid), number(o.gid)] },
  file: { opcode: 18, fields: (o) => [o.path, o.data, number(o.mode), number(o.uid), number(o.gid)] },
  console: { opcode: 19, fields: () => [] },
  mask: { opcode: 20, fields: (o) => [o.path] },
  'read-only-path': { opcode: 21, fields: (o) => [o.path] },
  'pivot-root': { opcode: 22, fields: (o) => [truth(o.readOnly), truth(o.move ?? false)] },
  hostname: { opcode: 23, fields: (o) => [o.name, o.domainName] },
  sysctl: { opcode: 24, fields: (o) => [o.name, o.value, truth(o.optional)] },
  loopback: { opcode: 25, fields: () => [] },
  'oom-score': { opcode: 26, fields: (o) => [number(o.value)] },
  rlimit: { opcode: 27, fields: (o) => [BigInt(rlimitNumbers[o.name]), o.soft, o.hard] },
  'no-new-privileges': { opcode: 28, fields: () => [] },
  capabilities: {
    opcode: 29,
    fields: (o) => [o.bounding, o.effective, o.permitted, o.inheritable, o.ambient ?? 0n],
  },
  user: { opcode: 30, fields: (o) => [number(o.uid), number(o.gid), Buffer.concat(o.groups.map(u32))] },
  seccomp: { opcode: 31, fields: (o) => [o.program] },
  workdir: { opcode: 32, fields: (o) => [o.path, truth(o.create)] },
  environment: { opcode: 33, fields: (o) => [o.variables] },
  init: { opcode: 34, fields: () => [] },
  exec: { opcode: 35, fields: (o) => [o.argv] },
  'device-program': { opcode: 36, fields: (o) => [o.path, o.program] },
  'join-namespace': { opcode: 37, fields: (o) => [o.path, namespaceFlags[o.namespace]] },
  'id-maps': { opcode: 38, fields: (o) => [o.uids, o.gids] },
  hook: {
    opcode: 39,
    fields: (o) => [hookStages[o.stage], o.path, o.args, o.environment, number(o.timeoutSeconds)],
  },
  'oci-state': { opcode: 40, fields: (o) => [o.ociVersion, o.bundle, o.annotations] },
  umask: { opcode: 41, fields: (o) => [number(o.mask)] },
  'mounted-root-propagation': { opcode: 42, fields: (o) => [mountedRootFlags[o.propagation]] },
  'no-keyring': { opcode: 43, fields: () => [] },
  'memory-file': {
    opcode: 44,
    fields: (o) => [o.path, o.data, number(o.mode), number(o.uid), number(o.gid)],
  },
  'foreign-runtime': { opcode: 45, fields: (o) => [o.program, o.root, o.bundle] },
  'foreign-process': { opcode: 46, fields: (o) => [o.path] },
};

function encodeText(value: string, kind: string): Buffer {
  if (value.includes('\0'))
    throw new EnxameError('invalid-argument', `${kind}: a NUL byte in "${value.replaceAll('\0', '\\0')}"`);
  return text(value);
}

function encodeField(value: FieldValue, kind: string): Buffer {
  if (typeof value === 'bigint') return u64(value);
  if (typeof value === 'string') return encodeText(value, kind);
  if (Buffer.isBuffer(value)) return bytes(value);
  return Buffer.concat([u32(value.length), ...value.map((item) => encodeText(item, kind))]);
}

/** The opcode and fields of one operation: what goes on the wire, before it is bytes. */
export function operationFields(operation: LaunchOperation): { opcode: number; fields: FieldValue[] } {
  const row = table[operation.kind] as Row<LaunchOperation>;
  return { opcode: row.opcode, fields: row.fields(operation) };
}

function encodeOperations(operations: readonly LaunchOperation[]): Buffer {
  const parts = [u32(operations.length)];
  for (const operation of operations) {
    const { opcode, fields } = operationFields(operation);
    parts.push(u16(opcode), ...fields.map((field) => encodeField(field, operation.kind)));
  }
  return Buffer.concat(parts);
}

/** Throws `invalid-argument` for what the kernel would cut or misread: NUL bytes, fractions. */
export function encodeLaunchPlan(plan: LaunchPlan): Buffer {
  return Buffer.concat([
    encodeText(plan.id, 'id'),
    encodeText(plan.shim.socketPath, 'socketPath'),
    encodeText(plan.shim.exitPath, 'exitPath'),
    u64(truth(plan.shim.held)),
    encodeOperations(plan.operations),
  ]);
}

export function encodeExecPlan(plan: ExecPlan): Buffer {
  return Buffer.concat([u64(truth(plan.killOnDisconnect)), encodeOperations(plan.operations)]);
}
