/** IPv4 addresses and prefixes as numbers: the arithmetic that allocation, routes and DNS share. */

/** A prefix with its host bits cleared. `size` is the number of addresses in it. */
export interface Prefix {
  base: number;
  length: number;
  size: number;
}

/** The address as an unsigned 32-bit number, or undefined when the text is not a dotted quad. */
export function parseIpv4(text: string): number | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (!match) return undefined;
  let value = 0;
  for (const part of match.slice(1)) {
    const byte = Number(part);
    if (byte > 255) return undefined;
    value = value * 256 + byte;
  }
  return value;
}

export function formatIpv4(value: number): string {
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;
}

/** The prefix that `A.B.C.D/L` names; host bits in the text are cleared. Undefined when it is no CIDR text. */
export function parsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf('/');
  if (slash < 0) return undefined;
  const address = parseIpv4(text.slice(0, slash));
  const lengthText = text.slice(slash + 1);
  if (address === undefined || !/^\d{1,2}$/.test(lengthText)) return undefined;
  const length = Number(lengthText);
  if (length > 32) return undefined;
  return prefixAt(address, length);
}

/** The prefix of this length that holds the address. */
export function prefixAt(address: number, length: number): Prefix {
  const size = 2 ** (32 - length);
  return { base: address - (address % size), length, size };
}

export function formatPrefix(prefix: Prefix): string {
  return `${formatIpv4(prefix.base)}/${prefix.length}`;
}

export function contains(prefix: Prefix, address: number): boolean {
  return address >= prefix.base && address < prefix.base + prefix.size;
}

export function overlap(a: Prefix, b: Prefix): boolean {
  return a.base < b.base + b.size && b.base < a.base + a.size;
}
