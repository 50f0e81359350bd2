import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { defaultCapabilities } from './capabilities.js';
import { defaultSeccompProfile } from './default-profile.js';
import { opcode } from './filter-assembler.js';
import { auditArch, compileSeccomp, type SeccompTarget } from './seccomp-compiler.js';
import { parseSeccompProfile } from './seccomp-profile.js';
import { syscallNumbers, type SyscallArch } from './syscall-numbers.js';

const amd64: SeccompTarget = {
  architecture: 'amd64',
  capabilities: defaultCapabilities,
  kernelRelease: '6.1.0-13-amd64',
};
const allow = 0x7fff_0000;
const errno = (code: number): number => 0x0005_0000 | code;
const killProcess = 0x8000_0000;
const x32Bit = 0x4000_0000;

/** The kernel's interpreter, as far as these filters go. */
function judge(filter: Buffer, arch: number, number: number, args: readonly bigint[] = []): number {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(number >>> 0, 0);
  data.writeUInt32LE(arch, 4);
  for (const [index, arg] of args.entries()) data.writeBigUInt64LE(BigInt.asUintN(64, arg), 16 + 8 * index);
  let accumulator = 0;
  for (let at = 0; at < filter.length / 8; at++) {
    const code = filter.readUInt16LE(at * 8);
    const jumpTrue = filter.readUInt8(at * 8 + 2);
    const jumpFalse = filter.readUInt8(at * 8 + 3);
    const operand = filter.readUInt32LE(at * 8 + 4);
    const jump = (taken: boolean): void => void (at += taken ? jumpTrue : jumpFalse);
    switch (code) {
      case opcode.load:
        accumulator = data.readUInt32LE(operand);
        break;
      case opcode.and:
        accumulator = (accumulator & operand) >>> 0;
        break;
      case opcode.jump:
        at += operand;
        break;
      case opcode.jumpEqual:
        jump(accumulator === operand);
        break;
      case opcode.jumpGreater:
        jump(accumulator > operand);
        break;
      case opcode.jumpGreaterOrEqual:
        jump(accumulator >= operand);
        break;
      case opcode.return:
        return operand;
      default:
        throw new Error(`instruction ${code}`);
    }
  }
  throw new Error('ran off the end');
}

function call(
  filter: Buffer,
  name: string,
  args: readonly bigint[] = [],
  arch: Exclude<SyscallArch, 'x32'> = 'x86_64',
): number {
  return judge(filter, auditArch[arch], syscallNumbers[arch].get(name) ?? -1, args);
}

describe('seccomp filters', () => {
  const filter = compileSeccomp(defaultSeccompProfile, amd64);

  it('judges every call of every architecture by the default profile', () => {
    const conditional = new Set(['socket', 'personality', 'clone', 'clone3']);
    const allowedBySomeRule = (name: string): boolean =>
      defaultSeccompProfile.rules.some(
        ({ names, includes, args, action }) =>
          names.includes(name) &&
          action === 'SCMP_ACT_ALLOW' &&
          args.length === 0 &&
          includes.caps.every((capability) => defaultCapabilities.includes(capability)) &&
          (includes.arches.length === 0 || includes.arches.includes('amd64')),
      );
    for (const arch of ['x86_64', 'x86', 'x32'] as const) {
      const offset = arch === 'x32' ? x32Bit : 0;
      for (const [name, number] of syscallNumbers[arch]) {
        if (conditional.has(name)) continue;
        const expected = allowedBySomeRule(name) ? allow : errno(1);
        const audit = arch === 'x32' ? auditArch.x86_64 : auditArch[arch];
        expect(judge(filter, audit, number + offset), `${arch} ${name}`).to.equal(expected);
      }
    }
  });

  const table: [string, string, bigint[], number][] = [
    ['a stream socket', 'socket', [2n, 1n], allow],
    ['an AF_ALG socket', 'socket', [38n], errno(1)],
    ['the family between', 'socket', [39n], allow],
    ['an AF_VSOCK socket', 'socket', [40n], errno(1)],
    ['a family beyond', 'socket', [41n], allow],
    ['a family with high bits', 'socket', [0x1_0000_0026n], allow],
    ['the usual personality', 'personality', [0n], allow],
    ['asking for the personality', 'personality', [0xffff_ffffn], allow],
    ['another personality', 'personality', [1n], errno(1)],
    ['a fork', 'clone', [0x1200011n], allow],
    ['a thread', 'clone', [0x3d0f00n], allow],
    ['a user namespace', 'clone', [0x1000_0011n], errno(1)],
    ['a mount namespace', 'clone', [0x0002_0011n], errno(1)],
    ['clone3, which a filter cannot look into', 'clone3', [0n], errno(38)],
    ['mount', 'mount', [], errno(1)],
    ['io_uring', 'io_uring_setup', [], errno(1)],
    ['ptrace on a new kernel', 'ptrace', [], allow],
    ['chroot', 'chroot', [], allow],
    ['bpf', 'bpf', [], errno(1)],
  ];
  for (const [what, name, args, expected] of table) {
    it(`answers ${what}`, () => expect(call(filter, name, args)).to.equal(expected));
  }

  it('says of calls newer than its table that they do not exist', () => {
    expect(judge(filter, auditArch.x86_64, 5_000)).to.equal(errno(38));
    expect(judge(filter, auditArch.x86, 5_000)).to.equal(errno(38));
  });

  it('kills what comes by another architecture', () => {
    expect(judge(filter, auditArch.aarch64, 63)).to.equal(killProcess);
    const arm = compileSeccomp(defaultSeccompProfile, { ...amd64, architecture: 'arm64' });
    expect(call(arm, 'read', [], 'aarch64')).to.equal(allow);
    expect(call(arm, 'mount', [], 'aarch64')).to.equal(errno(1));
    expect(judge(arm, auditArch.x86_64, 0)).to.equal(killProcess);
  });

  it('follows capabilities and the kernel version', () => {
    const admin = compileSeccomp(defaultSeccompProfile, {
      ...amd64,
      capabilities: [...defaultCapabilities, 'CAP_SYS_ADMIN'],
    });
    expect(call(admin, 'mount')).to.equal(allow);
    expect(call(admin, 'clone3')).to.equal(allow);
    expect(call(admin, 'clone', [0x1000_0011n])).to.equal(allow);
    const old = compileSeccomp(defaultSeccompProfile, { ...amd64, kernelRelease: '4.4.0' });
    expect(call(old, 'ptrace')).to.equal(errno(1));
  });

  it('compares 64-bit arguments by every operator', () => {
    const big = 0x1_0000_0005n;
    const operators: Record<string, (value: bigint) => boolean> = {
      EQ: (value) => value === big,
      NE: (value) => value !== big,
      LT: (value) => value < big,
      LE: (value) => value <= big,
      GT: (value) => value > big,
      GE: (value) => value >= big,
    };
    const values = [
      0n,
      5n,
      0x1_0000_0004n,
      big,
      0x1_0000_0006n,
      0x2_0000_0000n,
      0xffff_ffffn,
      2n ** 64n - 1n,
    ];
    for (const [op, holds] of Object.entries(operators)) {
      const profile = parseSeccompProfile(
        JSON.stringify({
          defaultAction: 'SCMP_ACT_KILL_PROCESS',
          syscalls: [
            {
              names: ['read'],
              action: 'SCMP_ACT_ALLOW',
              args: [
                { index: 1, value: Number(big), op: `SCMP_CMP_${op}` },
                { index: 2, value: 0xff, valueTwo: 0x12, op: 'SCMP_CMP_MASKED_EQ' },
              ],
            },
          ],
        }),
      );
      const compiled = compileSeccomp(profile, amd64);
      for (const value of values) {
        const expected = holds(value) ? allow : killProcess;
        expect(call(compiled, 'read', [0n, value, 0x3412n]), `${value} ${op} ${big}`).to.equal(expected);
        expect(call(compiled, 'read', [0n, value, 0x3413n])).to.equal(killProcess);
      }
    }
  });

  for (const [why, text] of [
    ['is not JSON', '{'],
    ['defaultAction must be one of', '{"defaultAction":"SCMP_ACT_MAYBE"}'],
    ['must name a system call', '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_KILL"}]}'],
    [
      'index must be',
      '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_KILL","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}',
    ],
  ] as const) {
    it(`refuses a profile that is wrong: ${why}`, () => {
      expect(() => parseSeccompProfile(text)).to.throw(why === 'is not JSON' ? 'not JSON' : why);
    });
  }

  it('is loaded by the kernel, which refuses what the profile refuses', function () {
    if (process.arch !== 'x64') this.skip();
    const folder = mkdtempSync('/tmp/enxame-seccomp-');
    try {
      const file = join(folder, 'filter');
      writeFileSync(file, compileSeccomp(defaultSeccompProfile, { ...amd64, kernelRelease: release() }));
      // prctl(PR_SET_NO_NEW_PRIVS), seccomp(SECCOMP_SET_MODE_FILTER, 0, { length, filter }), then calls by number.
      const script = `
        open(F, '<', $ARGV[0]); binmode F; my $f = do { local $/; <F> };
        my $program = pack('S x6 P', length($f) / 8, $f);
        syscall(157, 38, 1, 0, 0, 0) == 0 or die "no_new_privs $!";
        syscall(317, 1, 0, $program) == 0 or die "seccomp $!";
        sub try { my ($n, @a) = @_; my $r = syscall($n, @a); print $r < 0 ? $!+0 : 'ok', ' '; }
        try(39); try(165, 0, 0, 0, 0, 0); try(41, 38, 5, 0); try(41, 1, 1, 0); try(272, 0x10000000); try(435, 0, 0);
        try(425, 0, 0); try(135, 0xffffffff); try(5000);
      `;
      const output = execFileSync('perl', ['-e', script, file], { encoding: 'utf8' });
      expect(output.trim()).to.equal('ok 1 1 ok 1 38 1 ok 38');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
