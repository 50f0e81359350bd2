import { crc32 } from 'node:zlib';
import type { SnapshotMeta } from '../core/types.js';

/** What two members compare of a snapshot: the chunks' number, bytes and checksum. */
export class ContentSum {
  chunkCount = 0;
  private bytes = 0;
  private checksum = 0;

  add(chunk: Uint8Array): void {
    const length = Buffer.allocUnsafe(4);
    length.writeUInt32LE(chunk.length);
    this.chunkCount++;
    this.bytes += chunk.length;
    this.checksum = crc32(chunk, crc32(length, this.checksum));
  }

  idFor({ index, term }: SnapshotMeta): string {
    return `${index}-${term}-${this.chunkCount}-${this.bytes}-${this.checksum.toString(16)}`;
  }

  reset(): void {
    this.chunkCount = 0;
    this.bytes = 0;
    this.checksum = 0;
  }
}
