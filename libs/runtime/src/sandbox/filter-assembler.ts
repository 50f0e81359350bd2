/** Classic BPF for seccomp: the few instructions a filter needs, and their bytes (`struct sock_filter`). */

export interface Instruction {
  code: number;
  jumpTrue: number;
  jumpFalse: number;
  operand: number;
}

/** BPF_LD+W+ABS, BPF_ALU+AND+K, BPF_JMP+{JA,JEQ,JGT,JGE}+K, BPF_RET+K of `linux/bpf_common.h`. */
export const opcode = {
  load: 0x20,
  and: 0x54,
  jump: 0x05,
  jumpEqual: 0x15,
  jumpGreater: 0x25,
  jumpGreaterOrEqual: 0x35,
  return: 0x06,
} as const;

/** Offsets in `struct seccomp_data`. */
export const seccompData = {
  number: 0,
  arch: 4,
  /** The low half of an argument; little-endian machines only. */
  argumentLow: (index: number): number => 16 + 8 * index,
  argumentHigh: (index: number): number => 16 + 8 * index + 4,
} as const;

const shortJumpMax = 255;
const instructionBytes = 8;
/** BPF_MAXINSNS of the kernel. */
export const instructionsMax = 4096;

export function load(offset: number): Instruction {
  return { code: opcode.load, jumpTrue: 0, jumpFalse: 0, operand: offset };
}

export function and(mask: number): Instruction {
  return { code: opcode.and, jumpTrue: 0, jumpFalse: 0, operand: mask };
}

export function giveBack(action: number): Instruction {
  return { code: opcode.return, jumpTrue: 0, jumpFalse: 0, operand: action };
}

export function test(code: number, operand: number, jumpTrue: number, jumpFalse: number): Instruction {
  return { code, jumpTrue, jumpFalse, operand };
}

/** `if (A <test> operand) whenTrue else whenFalse`; both blocks end in a return. Jumps are as long as needed. */
export function branch(
  code: number,
  operand: number,
  whenTrue: readonly Instruction[],
  whenFalse: readonly Instruction[],
): Instruction[] {
  if (whenFalse.length <= shortJumpMax) {
    return [test(code, operand, whenFalse.length, 0), ...whenFalse, ...whenTrue];
  }
  const far: Instruction = { code: opcode.jump, jumpTrue: 0, jumpFalse: 0, operand: whenFalse.length };
  return [test(code, operand, 0, 1), far, ...whenFalse, ...whenTrue];
}

export function encode(program: readonly Instruction[]): Buffer {
  const bytes = Buffer.alloc(program.length * instructionBytes);
  for (const [index, instruction] of program.entries()) {
    const at = index * instructionBytes;
    bytes.writeUInt16LE(instruction.code, at);
    bytes.writeUInt8(instruction.jumpTrue, at + 2);
    bytes.writeUInt8(instruction.jumpFalse, at + 3);
    bytes.writeUInt32LE(instruction.operand >>> 0, at + 4);
  }
  return bytes;
}
