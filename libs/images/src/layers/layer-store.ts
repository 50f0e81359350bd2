/**
 * Unpacked layers, each once, however many images share it: `layers/<diff id>/fs`, read-only lower folders of
 * overlays. A layer that has its name is whole: it is unpacked under a temporary one, its diff id is checked, and it
 * is renamed. It need not be on the disk by then: until it is, a mark in it says in which run of the machine it was
 * written, and a layer of an earlier run is thrown away. Its blob is on the disk, and it is unpacked again from there.
 */
import { EnxameError, type Digest } from '#libs/model';
import { mkdirSync, renameSync } from 'node:fs';
import { mkdir, open, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hexOf } from '../content/content-store.js';
import { diskError, errnoOf, temporaryName } from '../content/disk.js';
import { Limiter } from '../content/limiter.js';
import type { Settling } from '../content/settling.js';
import { isDigest } from '../reference/reference.js';
import { Growth } from './growth.js';
import { removeTree, writeLayer, type ProgramInput } from './unpack-program.js';

const sizeFile = 'size';
const unsyncedFile = 'unsynced';

export interface LayerStoreOptions {
  dir: string;
  temporaryDir: string;
  /** Path of enxame-unpack. */
  program: string;
  /** Plain bytes of one layer: a small compressed file can unpack to fill any disk. */
  layerBytesMax: number;
  /** Layers that are unpacked at once. */
  unpackingMax: number;
  settling: Settling;
}

/** A layer that is unpacked while its blob still comes in. Ends by `whole` or `abandon`. */
export interface ArrivingLayer {
  /** The blob's file has grown. */
  grown(): void;
  /** The blob's file has all its bytes, and they are the right ones. */
  whole(): void;
  /** The blob will not come. Resolves when nothing of the layer is left. */
  abandon(): Promise<void>;
  /** As `ensure`. */
  readonly unpacked: Promise<void>;
}

export class LayerStore {
  private readonly layerDir: string;
  private readonly sizes = new Map<Digest, number>();
  private readonly running = new Map<Digest, Promise<void>>();
  private readonly limiter: Limiter;

  constructor(private readonly options: LayerStoreOptions) {
    this.limiter = new Limiter(options.unpackingMax);
    this.layerDir = join(options.dir, 'layers');
  }

  async start(): Promise<void> {
    const { settling } = this.options;
    mkdirSync(this.layerDir, { recursive: true, mode: 0o711 });
    for (const name of await readdir(this.layerDir)) {
      const diffId = `sha256:${name}`;
      if (!isDigest(diffId)) continue;
      const size = await readText(join(this.layerDir, name, sizeFile));
      const writtenIn = await readText(join(this.layerDir, name, unsyncedFile));
      const isWhole =
        /^\d+$/.test(size ?? '') && (writtenIn === undefined || settling.isOfThisRun(writtenIn));
      if (!isWhole) {
        await this.discard(join(this.layerDir, name));
        continue;
      }
      if (writtenIn !== undefined) settling.settle(this.markOf(diffId));
      this.sizes.set(diffId, Number(size));
    }
  }

  private markOf(diffId: Digest): string {
    return join(this.layerDir, hexOf(diffId), unsyncedFile);
  }

  has(diffId: Digest): boolean {
    return this.sizes.has(diffId);
  }

  /** Bytes of the layer's files; 0 when it is not unpacked. */
  sizeOf(diffId: Digest): number {
    return this.sizes.get(diffId) ?? 0;
  }

  diffIds(): Digest[] {
    return [...this.sizes.keys()];
  }

  /** The overlay's lower folder. */
  path(diffId: Digest): string {
    return join(this.layerDir, hexOf(diffId), 'fs');
  }

  /**
   * Unpacks a layer from its blob unless it is there. Work on one layer is shared. Rejects with `invalid-argument`
   * when the blob is damaged, hostile or not the one that `diffId` names, with `resource-exhausted` when the disk is
   * full.
   */
  async ensure(diffId: Digest, blobPath: string): Promise<void> {
    if (this.sizes.has(diffId)) return;
    let work = this.running.get(diffId);
    if (work === undefined) {
      work = this.limiter.run(() => this.unpack(diffId, blobPath)).finally(() => this.running.delete(diffId));
      this.running.set(diffId, work);
    }
    await work;
  }

  /** Begins with a layer whose blob is still being written. Undefined when there is nothing to do, or no room for it. */
  arriving(diffId: Digest, blobPath: string): ArrivingLayer | undefined {
    if (this.sizes.has(diffId) || this.running.has(diffId) || this.limiter.isFull) return undefined;
    const growth = new Growth();
    const unpacked = this.limiter.run(() => this.unpack(diffId, blobPath, growth));
    // Whoever waits for it is told; a damaged blob is noticed by its receiver first.
    const settled = unpacked.catch(() => undefined);
    return {
      grown: () => growth.grown(),
      whole: () => growth.whole(),
      abandon: async () => {
        growth.fail(new EnxameError('unavailable', `layer ${diffId} did not arrive`));
        await settled;
      },
      unpacked,
    };
  }

  private async unpack(diffId: Digest, blobPath: string, growth?: Growth): Promise<void> {
    const blob = await open(blobPath, 'r');
    try {
      const input: ProgramInput = { descriptor: blob.fd, ...(growth === undefined ? {} : { growth }) };
      await this.write(input, `layer ${diffId}`, (digest) => {
        if (digest === diffId) return;
        throw new EnxameError(
          'invalid-argument',
          `layer verification failed: expected diff id ${diffId}, got ${digest}`,
        );
      });
    } finally {
      await blob.close();
    }
  }

  /**
   * Unpacks a tar whose diff id is known at its end only. `accept` is told it before the layer has its name, for the
   * caller to hold it, or to refuse it by throwing.
   */
  async add(tar: AsyncIterable<Buffer>, what: string, accept: (diffId: Digest) => void): Promise<void> {
    await this.limiter.run(() => this.write(tar, what, accept));
  }

  private async write(input: ProgramInput, what: string, accept: (diffId: Digest) => void): Promise<void> {
    const { program, temporaryDir, settling, layerBytesMax: bytesMax } = this.options;
    const folder = join(temporaryDir, temporaryName());
    try {
      await mkdir(folder, { mode: 0o711 });
      const { sizeBytes, diffId } = await writeLayer(program, folder, input, { what, bytesMax });
      accept(diffId);
      await rm(join(folder, 'trash'), { recursive: true });
      await writeFile(join(folder, sizeFile), String(sizeBytes));
      await settling.writeMark(join(folder, unsyncedFile));
      if (this.sizes.has(diffId)) return await removeTree(program, folder);
      try {
        await rename(folder, join(this.layerDir, hexOf(diffId)));
      } catch (error) {
        // The same layer came by another way meanwhile.
        if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'EEXIST') throw error;
        await removeTree(program, folder);
      }
      this.sizes.set(diffId, sizeBytes);
      settling.settle(this.markOf(diffId));
    } catch (error) {
      await removeTree(program, folder);
      throw diskError(`cannot unpack ${what}`, error);
    }
  }

  async remove(diffId: Digest): Promise<void> {
    this.sizes.delete(diffId);
    this.options.settling.forget(this.markOf(diffId));
    await this.discard(join(this.layerDir, hexOf(diffId)));
  }

  /** Renamed first and at once: a removal that is cut short leaves rubbish in the temporary folder, not half a layer. */
  private async discard(folder: string): Promise<void> {
    const rubbish = join(this.options.temporaryDir, temporaryName());
    renameSync(folder, rubbish);
    await removeTree(this.options.program, rubbish);
  }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
