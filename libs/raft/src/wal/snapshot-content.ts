import type { SnapshotMeta } from '../core/types.js';
import { crc32c } from './crc32c.js';

export const encodedSumBytes = 14;

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
    this.checksum = crc32c(chunk, crc32c(length, this.checksum));
  }

  idFor({ index, term }: SnapshotMeta): string {
    return `${index}-${term}-${this.chunkCount}-${this.bytes}-${this.checksum.toString(16)}`;
  }

  /** The end of a snapshot file. */
  encode(): Buffer {
    const end = Buffer.allocUnsafe(encodedSumBytes);
    end.writeUInt32LE(this.chunkCount, 0);
    end.writeUIntLE(this.bytes, 4, 6);
    end.writeUInt32LE(this.checksum, 10);
    return end;
  }

  static decode(end: Buffer): ContentSum | undefined {
    if (end.length !== encodedSumBytes) return undefined;
    const sum = new ContentSum();
    sum.chunkCount = end.readUInt32LE(0);
    sum.bytes = end.readUIntLE(4, 6);
    sum.checksum = end.readUInt32LE(10);
    return sum;
  }

  equals(other: ContentSum): boolean {
    return (
      this.chunkCount === other.chunkCount && this.bytes === other.bytes && this.checksum === other.checksum
    );
  }

  reset(): void {
    this.chunkCount = 0;
    this.bytes = 0;
    this.checksum = 0;
  }
}
