/** Linux capabilities by name, and which of them a container has. */
import { EnxameError } from '#libs/model';

/** In the order of their numbers in `linux/capability.h`. */
const names = [
  'CHOWN',
  'DAC_OVERRIDE',
  'DAC_READ_SEARCH',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'LINUX_IMMUTABLE',
  'NET_BIND_SERVICE',
  'NET_BROADCAST',
  'NET_ADMIN',
  'NET_RAW',
  'IPC_LOCK',
  'IPC_OWNER',
  'SYS_MODULE',
  'SYS_RAWIO',
  'SYS_CHROOT',
  'SYS_PTRACE',
  'SYS_PACCT',
  'SYS_ADMIN',
  'SYS_BOOT',
  'SYS_NICE',
  'SYS_RESOURCE',
  'SYS_TIME',
  'SYS_TTY_CONFIG',
  'MKNOD',
  'LEASE',
  'AUDIT_WRITE',
  'AUDIT_CONTROL',
  'SETFCAP',
  'MAC_OVERRIDE',
  'MAC_ADMIN',
  'SYSLOG',
  'WAKE_ALARM',
  'BLOCK_SUSPEND',
  'AUDIT_READ',
  'PERFMON',
  'BPF',
  'CHECKPOINT_RESTORE',
] as const;

/** Docker's 14. */
export const defaultCapabilities: readonly string[] = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FSETID',
  'FOWNER',
  'MKNOD',
  'NET_RAW',
  'SETGID',
  'SETUID',
  'SETFCAP',
  'SETPCAP',
  'NET_BIND_SERVICE',
  'SYS_CHROOT',
  'KILL',
  'AUDIT_WRITE',
].map((name) => `CAP_${name}`);

const numbers: ReadonlyMap<string, number> = new Map(names.map((name, number) => [`CAP_${name}`, number]));
export const allCapabilities: readonly string[] = [...numbers.keys()];
export const sysResourceCapabilityNumber = names.indexOf('SYS_RESOURCE');

/**
 * Docker's rules: `ALL` in either list stands for every capability, a name in both lists is dropped unless all are
 * dropped. Throws `invalid-argument` for a name Linux does not have. Sorted by number.
 */
export function resolveCapabilities(options: {
  add: readonly string[];
  drop: readonly string[];
  privileged: boolean;
}): string[] {
  if (options.privileged) return [...allCapabilities];
  const add = options.add.map((name) => canonicalName(name, 'capability to add'));
  const drop = options.drop.map((name) => canonicalName(name, 'capability to drop'));
  const addsAll = add.includes('ALL');
  const dropsAll = drop.includes('ALL');
  const base = addsAll ? allCapabilities : dropsAll ? [] : defaultCapabilities;
  const dropped = new Set(dropsAll ? [] : drop);
  const chosen = new Set([...base, ...add].filter((name) => !dropped.has(name)));
  return allCapabilities.filter((name) => chosen.has(name));
}

function canonicalName(name: string, what: string): string {
  const upper = name.toUpperCase();
  if (upper === 'ALL') return upper;
  const full = upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  if (!numbers.has(full)) throw new EnxameError('invalid-argument', `invalid ${what}: "${name}"`);
  return full;
}

/** Throws `invalid-argument` for a name Linux does not have. */
export function checkCapabilities(field: string, list: readonly string[]): void {
  for (const name of list) {
    const upper = name.toUpperCase();
    const full = upper === 'ALL' || upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
    if (full !== 'ALL' && !numbers.has(full))
      throw new EnxameError('invalid-argument', `invalid ${field}: unknown capability: "${full}"`);
  }
}

/** The names of a mask's bits. */
export function capabilityNames(mask: bigint): string[] {
  return allCapabilities.filter((_name, number) => (mask >> BigInt(number)) & 1n);
}

/** Bit n is capability n. */
export function capabilityMask(capabilities: readonly string[]): bigint {
  let mask = 0n;
  for (const name of capabilities) {
    const number = numbers.get(name);
    if (number !== undefined) mask |= 1n << BigInt(number);
  }
  return mask;
}
