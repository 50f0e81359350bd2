/**
 * Header compression of HTTP/2 (RFC 7541): a whole decoder, since others may use all of it, and an encoder that keeps
 * no table: what a gRPC peer says is short and always the same, so it is encoded once and sent as bytes.
 */
import { codeLengths, staticTable } from './hpack-tables.js';

export type Header = readonly [name: string, value: string];

/** RFC 7540, 6.5.2: what the other side may use, since it is told of nothing else. */
const tableBytesMax = 4096;
/** RFC 7541, 4.1. */
const entryOverheadBytes = 32;

export class HpackError extends Error {}

export class HpackDecoder {
  /** The newest first. */
  private readonly dynamic: Header[] = [];
  private dynamicBytes = 0;
  private capacity = tableBytesMax;

  /** A whole header block. Throws HpackError; the connection cannot go on then. */
  decode(block: Buffer): Header[] {
    const reader = new Reader(block);
    const headers: Header[] = [];
    while (!reader.isAtEnd) {
      const first = reader.peek();
      if (first & 0x80) headers.push(this.entry(reader.integer(7)));
      else if (first & 0x40) {
        const header = this.literal(reader, 6);
        this.remember(header);
        headers.push(header);
      } else if (first & 0x20) {
        const capacity = reader.integer(5);
        if (capacity > tableBytesMax || headers.length > 0) throw new HpackError('a table size out of place');
        this.capacity = capacity;
        this.evict();
      } else headers.push(this.literal(reader, 4));
    }
    return headers;
  }

  private literal(reader: Reader, prefixBits: number): Header {
    const index = reader.integer(prefixBits);
    const name = index === 0 ? reader.text() : this.entry(index)[0];
    return [name, reader.text()];
  }

  private entry(index: number): Header {
    const header = staticTable[index - 1] ?? this.dynamic[index - 1 - staticTable.length];
    if (header === undefined) throw new HpackError(`no header has index ${index}`);
    return header;
  }

  private remember(header: Header): void {
    this.dynamic.unshift(header);
    this.dynamicBytes += sizeOf(header);
    this.evict();
  }

  private evict(): void {
    while (this.dynamicBytes > this.capacity) this.dynamicBytes -= sizeOf(this.dynamic.pop() as Header);
  }
}

function sizeOf([name, value]: Header): number {
  return name.length + value.length + entryOverheadBytes;
}

/** Without any table but the static one, which every receiver has. */
export function encodeHeaders(headers: readonly Header[]): Buffer {
  return Buffer.concat(headers.map(encodeHeader));
}

function encodeHeader([name, value]: Header): Buffer {
  const whole = staticTable.findIndex((entry) => entry[0] === name && entry[1] === value);
  if (whole >= 0) return encodeInteger(whole + 1, 7, 0x80);
  const named = staticTable.findIndex((entry) => entry[0] === name);
  const start = encodeInteger(named + 1, 4, 0);
  return Buffer.concat(
    named >= 0 ? [start, encodeText(value)] : [start, encodeText(name), encodeText(value)],
  );
}

function encodeText(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  return Buffer.concat([encodeInteger(bytes.length, 7, 0), bytes]);
}

function encodeInteger(value: number, prefixBits: number, pattern: number): Buffer {
  const most = 2 ** prefixBits - 1;
  if (value < most) return Buffer.of(pattern | value);
  const bytes = [pattern | most];
  let rest = value - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

class Reader {
  private at = 0;

  constructor(private readonly bytes: Buffer) {}

  get isAtEnd(): boolean {
    return this.at >= this.bytes.length;
  }

  peek(): number {
    const byte = this.bytes[this.at];
    if (byte === undefined) throw new HpackError('a header block that ends too soon');
    return byte;
  }

  integer(prefixBits: number): number {
    const most = 2 ** prefixBits - 1;
    let value = this.peek() & most;
    this.at++;
    if (value < most) return value;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.peek();
      this.at++;
      value += (byte & 127) * scale;
      if (value > 0x7fffffff) throw new HpackError('an integer that is too large');
      if ((byte & 128) === 0) return value;
    }
  }

  text(): string {
    const isHuffman = (this.peek() & 0x80) !== 0;
    const length = this.integer(7);
    const end = this.at + length;
    if (end > this.bytes.length) throw new HpackError('a header block that ends too soon');
    const bytes = this.bytes.subarray(this.at, end);
    this.at = end;
    return isHuffman ? huffmanDecode(bytes) : bytes.toString('latin1');
  }
}

/** A binary tree in one array: the children of node n are at 2n and 2n + 1; a leaf is the complement of its byte. */
const tree = makeTree();

/** The code is canonical: codes of one length follow each other in the order of their symbols, short ones first. */
function makeTree(): Int32Array {
  const made = new Int32Array(1024);
  let nodeCount = 1;
  let code = 0;
  let previousBits = 0;
  const symbols = codeLengths.map((bits, symbol) => ({ bits, symbol }));
  for (const { bits, symbol } of symbols.sort((a, b) => a.bits - b.bits || a.symbol - b.symbol)) {
    code *= 2 ** (bits - previousBits);
    previousBits = bits;
    let node = 0;
    for (let bit = bits - 1; bit >= 0; bit--) {
      const child = 2 * node + (Math.floor(code / 2 ** bit) % 2);
      if (bit === 0) made[child] = ~symbol;
      else {
        if (made[child] === 0) made[child] = nodeCount++;
        node = made[child] as number;
      }
    }
    code++;
  }
  return made;
}

function huffmanDecode(bytes: Buffer): string {
  const decoded: number[] = [];
  let node = 0;
  let pendingBits = 0;
  let areOnes = true;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      const isOne = (byte >> bit) & 1;
      const child = tree[2 * node + isOne] as number;
      pendingBits++;
      areOnes &&= isOne === 1;
      if (child === 0) throw new HpackError('a code that stands for nothing');
      if (child > 0) node = child;
      else {
        decoded.push(~child);
        node = 0;
        pendingBits = 0;
        areOnes = true;
      }
    }
  }
  // RFC 7541, 5.2: what is left are the first bits of the code for the end, fewer than eight.
  if (pendingBits > 7 || !areOnes) throw new HpackError('a wrong end of a string');
  return Buffer.from(decoded).toString('latin1');
}
