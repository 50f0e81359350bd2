/**
 * The few things the log asks of a disk, all synchronous: code that stands on this port runs in a thread of its own
 * over real files, and in a simulation over a disk that forgets what was not synced, tears writes, fills up, stalls
 * and flips bits. Errors carry the system's `code` (`ENOSPC`, `EIO`, ...).
 */
export interface Disk {
  /** With every folder above it that is missing; 0700. */
  makeDirectory(path: string): void;
  /** Names in the folder, sorted. Empty when there is no such folder. */
  list(dir: string): string[];
  /** `create` makes the file, 0600, or empties the one that is there. The other modes want it to exist. */
  open(path: string, mode: 'read' | 'write' | 'create'): DiskFile;
  /** Replaces what has the new name. Durable, like every change of a name, once the folder is synced. */
  rename(from: string, to: string): void;
  /** A file that is not there is no error. */
  remove(path: string): void;
  syncDirectory(dir: string): void;
}

export interface DiskFile {
  size(): number;
  /** Fills `into` from `position` on; fewer bytes only where the file ends. */
  read(into: Uint8Array, position: number): number;
  /** The whole of `bytes`, or a throw; then any part of it may be in the file. */
  write(bytes: Uint8Array, position: number): void;
  truncate(bytes: number): void;
  /** Content and length are durable when this returns. After a throw nothing about the file's content is sure. */
  sync(): void;
  close(): void;
}

export function readWhole(disk: Disk, path: string): Buffer {
  const file = disk.open(path, 'read');
  try {
    const bytes = Buffer.allocUnsafe(file.size());
    return bytes.subarray(0, file.read(bytes, 0));
  } finally {
    file.close();
  }
}
