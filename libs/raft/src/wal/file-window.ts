import type { Disk, DiskFile } from './disk.js';

const windowBytes = 1024 * 1024;

/** A file of any size through a window of it: what is read one after the other costs one read per window. */
export class FileWindow {
  readonly size: number;
  private window = Buffer.alloc(0);
  private begin = 0;

  private constructor(private readonly file: DiskFile) {
    this.size = file.size();
  }

  static open(disk: Disk, path: string): FileWindow {
    return new FileWindow(disk.open(path, 'read'));
  }

  /** `length` bytes from `offset` on, which must lie within the file. Valid for as long as the caller keeps it. */
  bytes(offset: number, length: number): Buffer {
    if (offset < this.begin || offset + length > this.begin + this.window.length) {
      const wanted = Math.min(Math.max(length, windowBytes), this.size - offset);
      // A new buffer each time: what was handed out before may still be in use.
      const window = Buffer.allocUnsafeSlow(wanted);
      this.window = window.subarray(0, this.file.read(window, offset));
      this.begin = offset;
    }
    const at = offset - this.begin;
    if (at + length > this.window.length) throw new Error('the file became shorter while it was read');
    return this.window.subarray(at, at + length);
  }

  close(): void {
    this.file.close();
  }
}
