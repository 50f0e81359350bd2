/**
 * The files' unit: one frame holds everything that one write made durable together.
 *
 *     offset  0  magic          u32  'EnxR'
 *             4  stored bytes   u32
 *             8  chain          u32  CRC-32C of the stored bytes, begun from the previous frame's chain
 *            12  header check   u32  CRC-32C of the 12 bytes before
 *            16  stored bytes        the payload, or what a cipher made of it
 *             .  end mark       u32  'End!', no byte of it zero
 *
 * A frame is written by one write and made durable before the next is begun. So a crash can leave only the last
 * frame of the last file unfinished: short, or with zeros where a file was longer before its bytes came, from some
 * byte on or in whole sectors. Zeros alone up to the end of the file are room that was set aside. Anything else that
 * does not check is damage. The chain makes a frame that belongs to another place or another file fail as well.
 */
import { crc32c } from './crc32c.js';
import type { FileWindow } from './file-window.js';

export const frameHeaderBytes = 16;
export const frameEndBytes = 4;
export const framePayloadBytesMax = 512 * 1024 * 1024;
const magic = 0x52786e45;
const endMark = 0x21646e45;
/** Of the frames of format 1, whose checksums were of another kind. */
const earlierMagic = 0x57786e45;
const sectorBytes = 512;
const zeros = Buffer.alloc(64 * 1024);

export function encodeFrame(stored: readonly Uint8Array[], previousChain: number): Buffer {
  const storedBytes = stored.reduce((sum, part) => sum + part.length, 0);
  const frame = Buffer.allocUnsafe(frameHeaderBytes + storedBytes + frameEndBytes);
  let at = frameHeaderBytes;
  for (const part of stored) {
    frame.set(part, at);
    at += part.length;
  }
  frame.writeUInt32LE(magic, 0);
  frame.writeUInt32LE(storedBytes, 4);
  frame.writeUInt32LE(crc32c(frame.subarray(frameHeaderBytes, at), previousChain), 8);
  frame.writeUInt32LE(crc32c(frame.subarray(0, 12)), 12);
  frame.writeUInt32LE(endMark, at);
  return frame;
}

export function frameChain(frame: Buffer): number {
  return frame.readUInt32LE(8);
}

export type FrameRead =
  | { kind: 'frame'; stored: Buffer; chain: number; end: number }
  /** Nothing but zeros follows, if anything. */
  | { kind: 'end' }
  /** Nothing was acknowledged from here on, if this is the last file. */
  | { kind: 'torn' }
  | { kind: 'damaged'; reason: string };

/** `offset` is where a frame begins in the file. */
export function readFrame(file: FileWindow, offset: number, previousChain: number): FrameRead {
  const header = readHeader(file, offset);
  if (header === undefined) return readWithoutHeader(file, offset);
  const { storedBytes, chain } = header;
  const end = offset + frameHeaderBytes + storedBytes + frameEndBytes;
  if (end > file.size) return { kind: 'torn' };
  const rest = file.bytes(offset + frameHeaderBytes, storedBytes + frameEndBytes);
  const stored = rest.subarray(0, storedBytes);
  if (crc32c(stored, previousChain) === chain && rest.readUInt32LE(storedBytes) === endMark) {
    return { kind: 'frame', stored, chain, end };
  }
  const isCut = rest.at(-1) === 0 || hasZeroedSector(file.bytes(offset, end - offset), offset);
  if (isCut && isZeroFrom(file, end)) return { kind: 'torn' };
  return { kind: 'damaged', reason: 'the frame does not match its checksum' };
}

/** True for a file that begins as one of format 1. */
export function isEarlierFormat(file: FileWindow): boolean {
  return file.size >= 4 && file.bytes(0, 4).readUInt32LE(0) === earlierMagic;
}

function readHeader(file: FileWindow, offset: number): { storedBytes: number; chain: number } | undefined {
  if (offset + frameHeaderBytes > file.size) return undefined;
  const header = file.bytes(offset, frameHeaderBytes);
  if (header.readUInt32LE(0) !== magic || header.readUInt32LE(12) !== crc32c(header.subarray(0, 12))) {
    return undefined;
  }
  const storedBytes = header.readUInt32LE(4);
  return storedBytes > framePayloadBytesMax ? undefined : { storedBytes, chain: header.readUInt32LE(8) };
}

function readWithoutHeader(file: FileWindow, offset: number): FrameRead {
  if (isZeroFrom(file, offset)) return { kind: 'end' };
  const headerEnd = Math.min(offset + frameHeaderBytes, file.size);
  const header = file.bytes(offset, headerEnd - offset);
  // The header itself is the last that was written of the frame.
  if (header.length < frameHeaderBytes || (header.at(-1) === 0 && isZeroFrom(file, headerEnd))) {
    return { kind: 'torn' };
  }
  // The header's beginning is missing. No frame can follow one that was never whole.
  const isMissing = isZero(header.subarray(0, 4)) || hasZeroedSector(header, offset);
  if (isMissing && !hasFrameAfter(file, offset)) return { kind: 'torn' };
  return { kind: 'damaged', reason: 'the frame header does not match its checksum' };
}

function hasFrameAfter(file: FileWindow, offset: number): boolean {
  const step = 64 * 1024;
  const wanted = Buffer.allocUnsafe(4);
  wanted.writeUInt32LE(magic);
  for (let at = offset; at + frameHeaderBytes <= file.size; at += step) {
    // Steps overlap, so that a magic number across their border is seen.
    const bytes = file.bytes(at, Math.min(step + wanted.length, file.size - at));
    for (let found = bytes.indexOf(wanted); found >= 0; found = bytes.indexOf(wanted, found + 1)) {
      if (readHeader(file, at + found) !== undefined) return true;
    }
  }
  return false;
}

function isZeroFrom(file: FileWindow, offset: number): boolean {
  const step = 64 * 1024;
  for (let at = offset; at < file.size; at += step) {
    if (!isZero(file.bytes(at, Math.min(step, file.size - at)))) return false;
  }
  return true;
}

/** True when a sector's part of these bytes reads as zeros alone: it never reached the disk. */
function hasZeroedSector(bytes: Buffer, offset: number): boolean {
  let start = 0;
  while (start < bytes.length) {
    const sectorEnd = (Math.floor((offset + start) / sectorBytes) + 1) * sectorBytes - offset;
    if (isZero(bytes.subarray(start, sectorEnd))) return true;
    start = sectorEnd;
  }
  return false;
}

function isZero(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += zeros.length) {
    const part = bytes.subarray(at, at + zeros.length);
    if (!part.equals(zeros.subarray(0, part.length))) return false;
  }
  return true;
}
