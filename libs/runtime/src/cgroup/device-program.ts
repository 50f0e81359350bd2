/**
 * Device rules for cgroup v2, which has no control files for them: a BPF program attached to the cgroup is asked about
 * every mknod and every open of a device. Compiled here from the same lines that v1's `devices.allow` takes; the
 * launcher loads the bytes as they are.
 *
 * Source: Linux, include/uapi/linux/bpf.h: `bpf_cgroup_dev_ctx`.
 */
import { EnxameError } from '#libs/model';

export interface DeviceRule {
  type: 'character' | 'block' | 'all';
  /** Absent: every number. */
  major?: number;
  minor?: number;
  read: boolean;
  write: boolean;
  mknod: boolean;
}

const rulePattern = /^([abc]) (\*|\d+):(\*|\d+) ([rwm]{1,3})$/;

/** `c 1:3 rwm`, `b 8:* r`, `a *:* rwm`. Throws `invalid-argument` for anything else. */
export function parseDeviceRule(line: string): DeviceRule {
  const [, type, major = '', minor = '', access = ''] = rulePattern.exec(line) ?? [];
  if (type === undefined)
    throw new EnxameError('invalid-argument', `device rule "${line}" must look like "c 1:3 rwm"`);
  return {
    type: type === 'a' ? 'all' : type === 'b' ? 'block' : 'character',
    ...(major === '*' ? {} : { major: Number(major) }),
    ...(minor === '*' ? {} : { minor: Number(minor) }),
    read: access.includes('r'),
    write: access.includes('w'),
    mknod: access.includes('m'),
  };
}

/** `BPF_DEVCG_DEV_*` and `BPF_DEVCG_ACC_*`. */
const deviceTypes = { block: 1, character: 2 } as const;
const accessBits = { mknod: 1, read: 2, write: 4 } as const;
const everyAccess = 7;

/** Registers: r1 holds the context at the start and is scratch afterwards. */
const R = { result: 0, context: 1, type: 2, access: 3, major: 4, minor: 5 } as const;

/** Opcodes of `linux/bpf.h`: class | source | operation. */
const Op = {
  loadWord: 0x61,
  moveImmediate: 0xb7,
  moveRegister: 0xbf,
  andImmediate: 0x57,
  shiftRightImmediate: 0x77,
  jumpUnlessEqualImmediate: 0x55,
  jumpUnlessEqualRegister: 0x5d,
  exit: 0x95,
} as const;

interface Instruction {
  op: number;
  to?: number;
  from?: number;
  offset?: number;
  immediate?: number;
}

/** `struct bpf_insn` array, little endian. Everything that no rule allows is denied. */
export function compileDeviceRules(lines: readonly string[]): Buffer {
  const program: Instruction[] = [
    // access_type is (access << 16) | type, then major, then minor: 32 bits each.
    { op: Op.loadWord, to: R.type, from: R.context, offset: 0 },
    { op: Op.moveRegister, to: R.access, from: R.type },
    { op: Op.andImmediate, to: R.type, immediate: 0xffff },
    { op: Op.shiftRightImmediate, to: R.access, immediate: 16 },
    { op: Op.loadWord, to: R.major, from: R.context, offset: 4 },
    { op: Op.loadWord, to: R.minor, from: R.context, offset: 8 },
    ...lines.flatMap((line) => allowWhen(parseDeviceRule(line))),
    { op: Op.moveImmediate, to: R.result, immediate: 0 },
    { op: Op.exit },
  ];
  return Buffer.concat(program.map(encode));
}

/** Each test that fails jumps over the rest of its rule. */
function allowWhen(rule: DeviceRule): Instruction[] {
  const tests: Instruction[] = [];
  if (rule.type !== 'all') {
    tests.push({ op: Op.jumpUnlessEqualImmediate, to: R.type, immediate: deviceTypes[rule.type] });
  }
  const access =
    (rule.mknod ? accessBits.mknod : 0) |
    (rule.read ? accessBits.read : 0) |
    (rule.write ? accessBits.write : 0);
  if (access !== everyAccess) {
    // What is asked for has no bit beside those allowed.
    tests.push(
      { op: Op.moveRegister, to: R.context, from: R.access },
      { op: Op.andImmediate, to: R.context, immediate: access },
      { op: Op.jumpUnlessEqualRegister, to: R.context, from: R.access },
    );
  }
  if (rule.major !== undefined)
    tests.push({ op: Op.jumpUnlessEqualImmediate, to: R.major, immediate: rule.major });
  if (rule.minor !== undefined)
    tests.push({ op: Op.jumpUnlessEqualImmediate, to: R.minor, immediate: rule.minor });
  const verdict: Instruction[] = [{ op: Op.moveImmediate, to: R.result, immediate: 1 }, { op: Op.exit }];
  const length = tests.length + verdict.length;
  const isJump = (op: number): boolean =>
    op === Op.jumpUnlessEqualImmediate || op === Op.jumpUnlessEqualRegister;
  return [
    ...tests.map((test, position) => (isJump(test.op) ? { ...test, offset: length - position - 1 } : test)),
    ...verdict,
  ];
}

function encode({ op, to = 0, from = 0, offset = 0, immediate = 0 }: Instruction): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt8(op, 0);
  bytes.writeUInt8(to | (from << 4), 1);
  bytes.writeInt16LE(offset, 2);
  bytes.writeInt32LE(immediate, 4);
  return bytes;
}
