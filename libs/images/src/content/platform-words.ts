/** `--platform` as Docker reads it: `linux`, `amd64`, `linux/arm64/v8`, with the names people use for them. */
import { EnxameError } from '#libs/model';
import { hostPlatform, type Platform } from './platform.js';

const systems = new Set(
  'aix android darwin dragonfly freebsd illumos ios js linux nacl netbsd openbsd plan9 solaris windows zos'.split(
    ' ',
  ),
);
const architectures = new Set(
  '386 amd64 arm arm64 arm64be armbe loong64 mips mips64 mips64le mipsle ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm'.split(
    ' ',
  ),
);
const architectureNames: Readonly<Record<string, string>> = {
  x86_64: 'amd64',
  'x86-64': 'amd64',
  i386: '386',
  aarch64: 'arm64',
  armhf: 'arm',
  armel: 'arm',
};
const partsMax = 3;

/** Undefined when nothing is asked. Throws `invalid-argument` in Docker's words, also for systems that cannot run here. */
export function platformOf(text: string): Platform | undefined {
  if (text === '') return undefined;
  const refuse = (why: string): EnxameError =>
    new EnxameError('invalid-argument', `"${text}": ${why}: invalid argument`);
  const parts = text.toLowerCase().split('/');
  const odd = parts.find((part) => !/^[a-z0-9_.-]+$/.test(part));
  if (odd !== undefined)
    throw refuse(
      `"${odd}" is an invalid component of "${text}": platform specifier component must match "^[A-Za-z0-9_.-]+$"`,
    );
  if (parts.length > partsMax) throw refuse('cannot parse platform specifier');
  const [first = '', second, variant] = parts;
  const normal = (name: string): string => architectureNames[name] ?? name;
  if (second === undefined) {
    if (architectures.has(normal(first))) return { os: 'linux', architecture: normal(first) };
    if (!systems.has(first) && first !== 'macos') throw refuse('unknown operating system or architecture');
  }
  if (first !== 'linux') {
    throw new EnxameError(
      'invalid-argument',
      `operating system is not supported: ${first === 'macos' ? 'darwin' : first}`,
    );
  }
  if (second === undefined) return hostPlatform();
  return { os: first, architecture: normal(second), ...(variant === undefined ? {} : { variant }) };
}
