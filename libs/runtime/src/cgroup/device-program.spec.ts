import { expect } from 'chai';
import { isEnxameError } from '#libs/model';
import { allowedDevices } from '../sandbox/default-sandbox.js';
import { compileDeviceRules, parseDeviceRule } from './device-program.js';

interface Question {
  type: 'b' | 'c';
  major: number;
  minor: number;
  access: string;
}

/** Executes the few instructions that are used, as the kernel's interpreter would. */
function ask(program: Buffer, { type, major, minor, access }: Question): boolean {
  const bits =
    (access.includes('m') ? 1 : 0) | (access.includes('r') ? 2 : 0) | (access.includes('w') ? 4 : 0);
  const context = [(bits << 16) | (type === 'b' ? 1 : 2), major, minor];
  const registers = Array.from({ length: 11 }, () => 0);
  for (let at = 0; at < program.length / 8; at++) {
    const [op, pair, offset, immediate] = [
      program.readUInt8(at * 8),
      program.readUInt8(at * 8 + 1),
      program.readInt16LE(at * 8 + 2),
      program.readInt32LE(at * 8 + 4),
    ];
    const [to, from] = [pair & 15, pair >> 4];
    switch (op) {
      case 0x61:
        registers[to] = context[offset / 4]!;
        break;
      case 0xb7:
        registers[to] = immediate;
        break;
      case 0xbf:
        registers[to] = registers[from]!;
        break;
      case 0x57:
        registers[to] = registers[to]! & immediate;
        break;
      case 0x77:
        registers[to] = registers[to]! >>> immediate;
        break;
      case 0x55:
        if (registers[to] !== immediate) at += offset;
        break;
      case 0x5d:
        if (registers[to] !== registers[from]) at += offset;
        break;
      case 0x95:
        return registers[0] === 1;
      default:
        throw new Error(`instruction ${at}: opcode ${op}`);
    }
  }
  throw new Error('ran off the end');
}

describe('device program of cgroup v2', () => {
  const table: [rules: readonly string[], question: string, allowed: boolean][] = [
    [[], 'c 1:3 r', false],
    [['c 1:3 rwm'], 'c 1:3 rw', true],
    [['c 1:3 rwm'], 'c 1:5 r', false],
    [['c 1:3 rwm'], 'c 2:3 r', false],
    [['c 1:3 rwm'], 'b 1:3 r', false],
    [['c 1:3 r'], 'c 1:3 r', true],
    [['c 1:3 r'], 'c 1:3 rw', false],
    [['c 1:3 r', 'c 1:3 rw'], 'c 1:3 rw', true],
    [['c *:* m'], 'c 10:200 m', true],
    [['c *:* m'], 'c 10:200 mr', false],
    [['b 8:* rw'], 'b 8:17 w', true],
    [['b 8:* rw'], 'b 9:17 w', false],
    [['b *:1 rw'], 'b 9:1 w', true],
    [['a *:* rwm'], 'b 259:1 rwm', true],
    [allowedDevices, 'c 1:3 rw', true],
    [allowedDevices, 'c 136:7 rw', true],
    [allowedDevices, 'b 8:0 m', true],
    [allowedDevices, 'b 8:0 r', false],
    [allowedDevices, 'c 10:200 rw', false],
  ];
  for (const [rules, question, allowed] of table) {
    it(`${rules === allowedDevices ? 'the default rules' : rules.join(', ') || 'no rule'}: ${question} is ${allowed ? 'allowed' : 'denied'}`, () => {
      const [type, major, minor, access] = question.split(/[ :]/) as ['b' | 'c', string, string, string];
      const asked = { type, major: Number(major), minor: Number(minor), access };
      expect(ask(compileDeviceRules(rules), asked)).to.equal(allowed);
    });
  }

  it('refuses what is no device rule, in words', () => {
    for (const line of ['', 'c 1:3', 'd 1:3 r', 'c 1:3 x', 'c 1 r', 'c -1:3 r', 'c 1:3 rwmr']) {
      let refused = false;
      try {
        parseDeviceRule(line);
      } catch (error) {
        refused = isEnxameError(error) && error.code === 'invalid-argument';
      }
      expect(refused, line).to.equal(true);
    }
  });
});
