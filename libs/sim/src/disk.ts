/**
 * A disk that keeps what was synced and nothing else for sure. A crash leaves of the unsynced writes any sectors, of
 * an unsynced growth any length, of unsynced names any first part of the changes. It fills up, refuses a sync,
 * crashes the machine at a chosen operation, and decays: bits flip in what was synced.
 */
import type { Disk, DiskFile } from '#libs/raft';
import type { SeededRandom } from './random.js';

const sectorBytes = 512;

export class DiskError extends Error {
  constructor(
    readonly code: 'ENOSPC' | 'EIO' | 'ENOENT' | 'CRASH',
    what: string,
  ) {
    super(`${code}: ${what}`);
  }
}

interface Undo {
  position: number;
  end: number;
  /** What was there before, as far as the file reached. */
  before: Uint8Array;
  sizeBefore: number;
}

/** What a name stands for. */
class Inode {
  bytes = Buffer.alloc(0);
  size = 0;
  durableSize = 0;
  unsynced: Undo[] = [];

  write(bytes: Uint8Array, position: number): void {
    const end = position + bytes.length;
    this.remember(position, end);
    if (end > this.bytes.length) {
      const grown = Buffer.alloc(Math.max(end, this.bytes.length * 2, 1024));
      grown.set(this.bytes.subarray(0, this.size));
      this.bytes = grown;
    }
    this.bytes.set(bytes, position);
    this.size = Math.max(this.size, end);
  }

  truncate(size: number): void {
    if (size > this.size) return this.write(Buffer.alloc(size - this.size), this.size);
    this.remember(size, this.size);
    this.bytes.fill(0, size, this.size);
    this.size = size;
  }

  sync(): void {
    this.unsynced = [];
    this.durableSize = this.size;
  }

  /** What the platter holds after the power went. */
  crash(random: SeededRandom): void {
    if (this.unsynced.length === 0) return;
    const sizeAfter = this.size;
    const after = Buffer.from(this.bytes);
    const sectors = new Set<number>();
    for (const { position, end, before, sizeBefore } of this.unsynced.toReversed()) {
      this.bytes.set(before, position);
      this.size = sizeBefore;
      for (let sector = Math.floor(position / sectorBytes); sector * sectorBytes < end; sector++) {
        sectors.add(sector);
      }
    }
    this.bytes.fill(0, this.size);
    const keep = random.pick([0, 0.5, 0.5, 1]);
    this.size = drawSize(random, { durable: this.size, written: sizeAfter, keep });
    for (const sector of sectors) {
      const from = sector * sectorBytes;
      if (from >= this.size || !random.chance(keep)) continue;
      after.copy(this.bytes, from, from, Math.min(from + sectorBytes, this.size));
    }
    this.sync();
  }

  private remember(position: number, end: number): void {
    const before = Buffer.from(this.bytes.subarray(position, Math.min(end, this.size)));
    this.unsynced.push({ position, end, before, sizeBefore: this.size });
  }
}

/** File systems write lengths on their own: before, after or together with the bytes. */
function drawSize(
  random: SeededRandom,
  { durable, written, keep }: { durable: number; written: number; keep: number },
): number {
  if (keep === 1) return written;
  if (written <= durable) return random.pick([durable, written]);
  const sectors = Math.ceil((written - durable) / sectorBytes);
  return random.pick([
    durable,
    written,
    Math.min(written, durable + random.below(sectors + 1) * sectorBytes),
  ]);
}

type NameChange = { dir: string; apply: (names: Map<string, Inode>, folders: Set<string>) => void };

export class SimDisk implements Disk {
  private names = new Map<string, Inode>();
  private folders = new Set<string>(['/']);
  private durableNames = new Map<string, Inode>();
  private durableFolders = new Set<string>(['/']);
  private pendingNames: NameChange[] = [];

  capacityBytes = Number.POSITIVE_INFINITY;
  /** The next syncs fail, and what they were to make durable may or may not be. */
  failingSyncs = 0;
  /** Machine or process crash at the operation after this many. */
  crashAfterOperations = Number.POSITIVE_INFINITY;
  /** Nothing is carried out any more until `crash` says what is left. */
  isDead = false;
  operations = 0;

  constructor(private readonly random: SeededRandom) {}

  /** The power goes. What was not synced is partly there or not at all. */
  crash(): void {
    const applied = this.random.below(this.pendingNames.length + 1);
    for (const { apply } of this.pendingNames.slice(0, applied))
      apply(this.durableNames, this.durableFolders);
    this.pendingNames = [];
    for (const path of this.durableNames.keys()) {
      if (!this.durableFolders.has(parentOf(path))) this.durableNames.delete(path);
    }
    for (const inode of new Set(this.durableNames.values())) inode.crash(this.random);
    this.names = new Map(this.durableNames);
    this.folders = new Set(this.durableFolders);
    this.isDead = false;
    this.crashAfterOperations = Number.POSITIVE_INFINITY;
  }

  /** Only the process was killed at that operation: the kernel holds what it was given. */
  revive(): void {
    this.isDead = false;
    this.crashAfterOperations = Number.POSITIVE_INFINITY;
  }

  /** Flips one bit of what was synced. Returns where, or undefined when there is nothing. */
  flipBit(): { path: string; offset: number } | undefined {
    const files = [...this.durableNames].filter(([, inode]) => inode.durableSize > 0);
    const total = files.reduce((sum, [, { durableSize }]) => sum + durableSize, 0);
    let at = this.random.below(Math.max(1, total));
    for (const [path, inode] of files) {
      if (at < inode.durableSize) {
        inode.bytes[at] = (inode.bytes[at] ?? 0) ^ (1 << this.random.below(8));
        return { path, offset: at };
      }
      at -= inode.durableSize;
    }
    return undefined;
  }

  usedBytes(): number {
    let used = 0;
    for (const { size } of this.names.values()) used += size;
    return used;
  }

  makeDirectory(path: string): void {
    this.begin('makeDirectory');
    const parts = path.split('/').filter((part) => part !== '');
    for (let depth = 1; depth <= parts.length; depth++) {
      const folder = `/${parts.slice(0, depth).join('/')}`;
      if (!this.folders.has(folder)) {
        this.change(parentOf(folder), (_, folders) => void folders.add(folder));
      }
    }
  }

  list(dir: string): string[] {
    const names = [...this.names.keys()].filter((path) => parentOf(path) === dir);
    return names.map((path) => path.slice(dir.length + 1)).sort();
  }

  open(path: string, mode: 'read' | 'write' | 'create'): DiskFile {
    this.begin('open');
    let inode = this.names.get(path);
    if (mode === 'create') {
      if (!this.folders.has(parentOf(path))) throw new DiskError('ENOENT', `open ${path}`);
      if (inode === undefined) {
        const created = new Inode();
        inode = created;
        this.change(parentOf(path), (names) => void names.set(path, created));
      }
      inode.truncate(0);
    }
    if (inode === undefined) throw new DiskError('ENOENT', `open ${path}`);
    return new SimFile(this, inode);
  }

  rename(from: string, to: string): void {
    this.begin('rename');
    const inode = this.names.get(from);
    if (inode === undefined) throw new DiskError('ENOENT', `rename ${from}`);
    this.change(parentOf(to), (names) => {
      names.delete(from);
      names.set(to, inode);
    });
  }

  remove(path: string): void {
    this.begin('remove');
    if (this.names.has(path)) this.change(parentOf(path), (names) => void names.delete(path));
  }

  syncDirectory(dir: string): void {
    this.begin('syncDirectory');
    this.checkSync();
    const others: NameChange[] = [];
    for (const change of this.pendingNames) {
      if (change.dir === dir) change.apply(this.durableNames, this.durableFolders);
      else others.push(change);
    }
    this.pendingNames = others;
  }

  /** Every operation passes here: any of them may be the last. */
  begin(operation: string): void {
    this.operations++;
    if (!this.isDead && this.crashAfterOperations-- <= 0) this.isDead = true;
    if (this.isDead) throw new DiskError('CRASH', `the machine is down (${operation})`);
  }

  /** How many of these bytes fit. */
  room(bytes: number): number {
    if (this.capacityBytes === Number.POSITIVE_INFINITY) return bytes;
    return Math.max(0, Math.min(bytes, this.capacityBytes - this.usedBytes()));
  }

  checkSync(): void {
    if (this.failingSyncs <= 0) return;
    this.failingSyncs--;
    throw new DiskError('EIO', 'sync');
  }

  /** A crash in the middle of a write leaves part of it. */
  drawPart(bytes: number): number {
    return this.random.below(bytes + 1);
  }

  private change(dir: string, apply: NameChange['apply']): void {
    apply(this.names, this.folders);
    this.pendingNames.push({ dir, apply });
  }
}

class SimFile implements DiskFile {
  constructor(
    private readonly disk: SimDisk,
    private readonly inode: Inode,
  ) {}

  size(): number {
    return this.inode.size;
  }

  read(into: Uint8Array, position: number): number {
    const length = Math.max(0, Math.min(into.length, this.inode.size - position));
    into.set(this.inode.bytes.subarray(position, position + length));
    return length;
  }

  write(bytes: Uint8Array, position: number): void {
    const wasDead = this.disk.isDead;
    try {
      this.disk.begin('write');
    } catch (error) {
      // The crash came in the middle of this write.
      if (!wasDead) this.inode.write(bytes.subarray(0, this.disk.drawPart(bytes.length)), position);
      throw error;
    }
    const grows = Math.max(0, position + bytes.length - this.inode.size);
    const fits = this.disk.room(grows);
    this.inode.write(bytes.subarray(0, bytes.length - (grows - fits)), position);
    if (fits < grows) throw new DiskError('ENOSPC', 'write');
  }

  truncate(bytes: number): void {
    this.disk.begin('truncate');
    this.inode.truncate(bytes);
  }

  sync(): void {
    this.disk.begin('sync');
    this.disk.checkSync();
    this.inode.sync();
  }

  close(): void {}
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf('/')));
}
