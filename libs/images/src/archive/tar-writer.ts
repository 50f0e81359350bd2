/** Members of the archives this project writes: plain files with short names, always the same bytes for the same input. */
const blockBytes = 512;
const nameBytesMax = 100;
const sizeMax = 8 ** 11 - 1;

function octal(value: number, length: number): string {
  return `${value.toString(8).padStart(length - 1, '0')}\0`;
}

/** A ustar header. Sizes that octal digits cannot say are written in base 256, as GNU tar and Go do. */
export function tarHeader(entry: { name: string; sizeBytes: number; isFolder?: boolean }): Buffer {
  const { name, sizeBytes, isFolder = false } = entry;
  if (Buffer.byteLength(name) > nameBytesMax) throw new Error(`the archive member name ${name} is too long`);
  const block = Buffer.alloc(blockBytes);
  block.write(name, 0);
  block.write(octal(isFolder ? 0o755 : 0o644, 8), 100);
  block.write(octal(0, 8), 108);
  block.write(octal(0, 8), 116);
  if (sizeBytes <= sizeMax) {
    block.write(octal(sizeBytes, 12), 124);
  } else {
    block.writeUInt8(0x80, 124);
    block.writeBigUInt64BE(BigInt(sizeBytes), 128);
  }
  block.write(octal(0, 12), 136);
  block.write(isFolder ? '5' : '0', 156);
  block.write('ustar\x0000', 257, 'latin1');
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${octal(sum, 7)} `, 148);
  return block;
}

/** What fills a member up to whole blocks. */
export function tarPadding(sizeBytes: number): Buffer {
  return Buffer.alloc(-sizeBytes & (blockBytes - 1));
}

export const tarEnd: Buffer = Buffer.alloc(2 * blockBytes);

export function tarFile(name: string, content: Buffer): Buffer {
  return Buffer.concat([tarHeader({ name, sizeBytes: content.length }), content, tarPadding(content.length)]);
}
