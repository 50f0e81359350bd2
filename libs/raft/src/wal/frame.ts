/**
 * The log file's unit: one frame holds everything that one write made durable together.
 *
 *     offset  0  magic          u32  'EnxW'
 *             4  payload bytes  u32
 *             8  chain          u32  CRC-32 of the payload, begun from the previous frame's chain
 *            12  header check   u32  CRC-32 of the 12 bytes before
 *            16  payload
 *
 * A frame is written by one write and made durable before the next is begun. So a crash can leave only the last
 * frame of the last file unfinished: short, or (the file's length having reached the disk before its bytes) with
 * whole sectors of zeros. Anything else that does not check is damage. The chain makes a frame that belongs to
 * another place or another file fail as well.
 */
import { crc32 } from 'node:zlib';
import type { FileWindow } from './file-window.js';

export const frameHeaderBytes = 16;
export const framePayloadBytesMax = 512 * 1024 * 1024;
const magic = 0x57786e45;
const sectorBytes = 512;

export function encodeFrame(payload: readonly Uint8Array[], previousChain: number): Buffer {
  const payloadBytes = payload.reduce((sum, part) => sum + part.length, 0);
  const frame = Buffer.allocUnsafe(frameHeaderBytes + payloadBytes);
  let at = frameHeaderBytes;
  for (const part of payload) {
    frame.set(part, at);
    at += part.length;
  }
  frame.writeUInt32LE(magic, 0);
  frame.writeUInt32LE(payloadBytes, 4);
  frame.writeUInt32LE(crc32(frame.subarray(frameHeaderBytes), previousChain), 8);
  frame.writeUInt32LE(crc32(frame.subarray(0, 12)), 12);
  return frame;
}

export function frameChain(frame: Buffer): number {
  return frame.readUInt32LE(8);
}

export type FrameRead =
  | { kind: 'frame'; payload: Buffer; chain: number; end: number }
  | { kind: 'end' }
  /** Nothing was acknowledged from here on, if this is the last file. */
  | { kind: 'torn' }
  | { kind: 'damaged'; reason: string };

/** `offset` is where a frame begins in the file. */
export function readFrame(file: FileWindow, offset: number, previousChain: number): FrameRead {
  if (offset === file.size) return { kind: 'end' };
  if (offset + frameHeaderBytes > file.size) return { kind: 'torn' };
  const header = file.bytes(offset, frameHeaderBytes);
  if (header.readUInt32LE(0) !== magic || header.readUInt32LE(12) !== crc32(header.subarray(0, 12))) {
    if (hasZeroedSector(header, offset)) return { kind: 'torn' };
    return { kind: 'damaged', reason: 'the frame header does not match its checksum' };
  }
  const payloadBytes = header.readUInt32LE(4);
  if (payloadBytes > framePayloadBytesMax) {
    return { kind: 'damaged', reason: `a frame of ${payloadBytes} bytes is over the limit` };
  }
  const end = offset + frameHeaderBytes + payloadBytes;
  if (end > file.size) return { kind: 'torn' };
  const payload = file.bytes(offset + frameHeaderBytes, payloadBytes);
  const chain = header.readUInt32LE(8);
  if (crc32(payload, previousChain) !== chain) {
    if (end === file.size && hasZeroedSector(file.bytes(offset, end - offset), offset)) {
      return { kind: 'torn' };
    }
    return { kind: 'damaged', reason: 'the frame does not match its checksum' };
  }
  return { kind: 'frame', payload, chain, end };
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
  return bytes.every((byte) => byte === 0);
}
