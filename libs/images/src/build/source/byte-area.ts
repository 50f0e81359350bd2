/** Bytes in the order they came: in memory while they are few, in one temporary file when they are many. */
import { open, type FileHandle } from 'node:fs/promises';
import { diskError } from '../../content/disk.js';

const memoryBytesMax = 16 * 1024 * 1024;
const writeBytes = 1024 * 1024;
const readBytes = 256 * 1024;

export class ByteArea {
  private waiting: Buffer[] = [];
  private waitingBytes = 0;
  private writtenBytes = 0;
  private file: FileHandle | undefined;

  /** The file at `path` is made when it is needed; whoever made the folder removes it. */
  constructor(private readonly path: string) {}

  get sizeBytes(): number {
    return this.writtenBytes + this.waitingBytes;
  }

  async append(chunk: Buffer): Promise<void> {
    this.waiting.push(chunk);
    this.waitingBytes += chunk.length;
    const limit = this.file === undefined ? memoryBytesMax : writeBytes;
    if (this.waitingBytes >= limit) await this.flush();
  }

  private async flush(): Promise<void> {
    try {
      this.file ??= await open(this.path, 'wx+', 0o600);
      const bytes = Buffer.concat(this.waiting);
      for (let done = 0; done < bytes.length; ) {
        const at = this.writtenBytes + done;
        const { bytesWritten } = await this.file.write(bytes, done, bytes.length - done, at);
        done += bytesWritten;
      }
      this.writtenBytes += bytes.length;
    } catch (error) {
      throw diskError('cannot keep the build context', error);
    }
    this.waiting = [];
    this.waitingBytes = 0;
  }

  /** No bytes come any more. */
  async finish(): Promise<void> {
    if (this.file !== undefined && this.waitingBytes > 0) await this.flush();
    else this.waiting = [Buffer.concat(this.waiting)];
  }

  async *read(offset: number, sizeBytes: number): AsyncGenerator<Buffer> {
    if (this.file === undefined) {
      yield (this.waiting[0] ?? Buffer.alloc(0)).subarray(offset, offset + sizeBytes);
      return;
    }
    for (let done = 0; done < sizeBytes; ) {
      const chunk = Buffer.alloc(Math.min(readBytes, sizeBytes - done));
      const { bytesRead } = await this.file.read(chunk, 0, chunk.length, offset + done);
      if (bytesRead === 0) throw new Error(`${this.path} was cut`);
      done += bytesRead;
      yield chunk.subarray(0, bytesRead);
    }
  }

  async close(): Promise<void> {
    await this.file?.close();
    this.waiting = [];
  }
}
