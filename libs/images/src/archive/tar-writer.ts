/** Writes tar members: the same bytes for the same input, with a pax header in front where ustar cannot say it all. */
import type { MemberType } from './tar-reader.js';

const blockBytes = 512;
const nameBytesMax = 100;
const sizeMax = 8 ** 11 - 1;
const idMax = 8 ** 7 - 1;

export interface WrittenMember {
  name: string;
  type?: Exclude<MemberType, 'other'>;
  mode?: number;
  uid?: number;
  gid?: number;
  mtimeSeconds?: number;
  link?: string;
  device?: { major: number; minor: number };
  xattrs?: ReadonlyMap<string, Buffer>;
  sizeBytes: number;
}

const typeCharacters = {
  file: '0',
  link: '1',
  symlink: '2',
  character: '3',
  block: '4',
  folder: '5',
  fifo: '6',
} as const satisfies Record<Exclude<MemberType, 'other'>, string>;

function octal(value: number, length: number): string {
  return `${value.toString(8).padStart(length - 1, '0')}\0`;
}

function fitted(value: number, most: number): number {
  return value >= 0 && value <= most ? value : 0;
}

function block(member: WrittenMember, typeCharacter: string): Buffer {
  const bytes = Buffer.alloc(blockBytes);
  const { name, link = '', device = { major: 0, minor: 0 } } = member;
  Buffer.from(name).copy(bytes, 0, 0, nameBytesMax);
  bytes.write(octal(member.mode ?? 0o644, 8), 100);
  bytes.write(octal(fitted(member.uid ?? 0, idMax), 8), 108);
  bytes.write(octal(fitted(member.gid ?? 0, idMax), 8), 116);
  bytes.write(octal(fitted(member.sizeBytes, sizeMax), 12), 124);
  bytes.write(octal(fitted(member.mtimeSeconds ?? 0, sizeMax), 12), 136);
  bytes.write(typeCharacter, 156);
  Buffer.from(link).copy(bytes, 157, 0, nameBytesMax);
  bytes.write('ustar\x0000', 257, 'latin1');
  bytes.write(octal(fitted(device.major, idMax), 8), 329);
  bytes.write(octal(fitted(device.minor, idMax), 8), 337);
  bytes.fill(' ', 148, 156);
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  bytes.write(`${octal(sum, 7)} `, 148);
  return bytes;
}

/** `LENGTH KEY=VALUE\n`, where the length counts its own digits. */
function paxRecord(key: string, value: string | number | Buffer): Buffer {
  const content = Buffer.isBuffer(value) ? value : Buffer.from(String(value));
  const rest = Buffer.concat([Buffer.from(` ${key}=`), content, Buffer.from('\n')]);
  let length = rest.length + String(rest.length).length;
  if (rest.length + String(length).length > length) length++;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

/** The header of one member; its content and `tarPadding` follow. */
export function tarHeader(member: WrittenMember): Buffer {
  const { name, link = '', sizeBytes, uid = 0, gid = 0, mtimeSeconds = 0, xattrs } = member;
  const records: Buffer[] = [];
  if (Buffer.byteLength(name) > nameBytesMax) records.push(paxRecord('path', name));
  if (Buffer.byteLength(link) > nameBytesMax) records.push(paxRecord('linkpath', link));
  if (sizeBytes > sizeMax) records.push(paxRecord('size', sizeBytes));
  if (uid > idMax) records.push(paxRecord('uid', uid));
  if (gid > idMax) records.push(paxRecord('gid', gid));
  if (mtimeSeconds < 0 || mtimeSeconds > sizeMax) records.push(paxRecord('mtime', mtimeSeconds));
  for (const [key, value] of [...(xattrs ?? [])].sort(([a], [b]) => (a < b ? -1 : 1))) {
    records.push(paxRecord(`SCHILY.xattr.${key}`, value));
  }
  const own = block(member, typeCharacters[member.type ?? 'file']);
  if (records.length === 0) return own;
  const pax = Buffer.concat(records);
  const front = block({ name: 'pax', sizeBytes: pax.length }, 'x');
  return Buffer.concat([front, pax, tarPadding(pax.length), own]);
}

/** What fills a member up to whole blocks. */
export function tarPadding(sizeBytes: number): Buffer {
  return Buffer.alloc(-sizeBytes & (blockBytes - 1));
}

export const tarEnd: Buffer = Buffer.alloc(2 * blockBytes);

export function tarFile(name: string, content: Buffer): Buffer {
  return Buffer.concat([tarHeader({ name, sizeBytes: content.length }), content, tarPadding(content.length)]);
}

/** A whole archive with one file in it. */
export function tarOfFile(name: string, content: Buffer): Buffer {
  return Buffer.concat([tarFile(name, content), tarEnd]);
}
