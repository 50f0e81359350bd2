/**
 * Unpacked layers, each once, however many images share it: `layers/<diff id>/fs`, read-only lower folders of
 * overlays. A layer that has its name is whole: it is unpacked under a temporary one, its diff id is checked, it is
 * synced and renamed.
 */
import { EnxameError, type Digest } from '#libs/model';
import { createHash } from 'node:crypto';
import { mkdirSync, renameSync } from 'node:fs';
import { mkdir, readFile, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { hexOf } from '../content/content-store.js';
import { decompress } from '../content/decompress.js';
import { diskError, errnoOf, syncFolder, temporaryName, writeFileWhole } from '../content/disk.js';
import { Limiter } from '../content/limiter.js';
import { isDigest } from '../reference/reference.js';
import { removeTree, writeLayer } from './unpack-program.js';

const sizeFile = 'size';
const unpackersMax = 2;

export interface LayerStoreOptions {
  dir: string;
  temporaryDir: string;
  /** Path of enxame-unpack. */
  program: string;
  /** Plain bytes of one layer: a small compressed file can unpack to fill any disk. */
  layerBytesMax: number;
}

export class LayerStore {
  private readonly layerDir: string;
  private readonly sizes = new Map<Digest, number>();
  private readonly running = new Map<Digest, Promise<void>>();
  private readonly limiter = new Limiter(unpackersMax);

  constructor(private readonly options: LayerStoreOptions) {
    this.layerDir = join(options.dir, 'layers');
  }

  async start(): Promise<void> {
    mkdirSync(this.layerDir, { recursive: true, mode: 0o711 });
    for (const name of await readdir(this.layerDir)) {
      const diffId = `sha256:${name}`;
      if (!isDigest(diffId)) continue;
      const size = Number(await readFile(join(this.layerDir, name, sizeFile), 'utf8'));
      this.sizes.set(diffId, Number.isSafeInteger(size) ? size : 0);
    }
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
   * Unpacks a layer unless it is there. Work on one layer is shared. Rejects with `invalid-argument` when the archive
   * is damaged, hostile or not the one that `diffId` names, with `resource-exhausted` when the disk is full.
   */
  async ensure(diffId: Digest, openBlob: () => AsyncIterable<Buffer>): Promise<void> {
    if (this.sizes.has(diffId)) return;
    let work = this.running.get(diffId);
    if (work === undefined) {
      work = this.limiter
        .run(() => this.unpack(diffId, openBlob()))
        .finally(() => this.running.delete(diffId));
      this.running.set(diffId, work);
    }
    await work;
  }

  private async unpack(diffId: Digest, blob: AsyncIterable<Buffer>): Promise<void> {
    const what = `layer ${diffId}`;
    const hash = createHash('sha256');
    await this.write(this.checked(blob, hash, what), what, () => {
      const digest = `sha256:${hash.digest('hex')}` as Digest;
      if (digest === diffId) return digest;
      throw new EnxameError(
        'invalid-argument',
        `layer verification failed: expected diff id ${diffId}, got ${digest}`,
      );
    });
  }

  /**
   * Unpacks a plain tar whose diff id is known at its end only. `digestOfAll` is asked for it then. The caller holds
   * that digest from before this resolves.
   */
  async add(tar: AsyncIterable<Buffer>, what: string, digestOfAll: () => Digest): Promise<void> {
    await this.limiter.run(() => this.write(tar, what, digestOfAll));
  }

  private async write(tar: AsyncIterable<Buffer>, what: string, digestOfAll: () => Digest): Promise<void> {
    const { program, temporaryDir } = this.options;
    const folder = join(temporaryDir, temporaryName());
    try {
      await mkdir(folder, { mode: 0o711 });
      const { sizeBytes } = await writeLayer(program, folder, tar, what);
      const diffId = digestOfAll();
      await removeTree(program, join(folder, 'trash'));
      await writeFileWhole(join(folder, sizeFile), Buffer.from(String(sizeBytes)), temporaryDir);
      if (this.sizes.has(diffId)) return await removeTree(program, folder);
      try {
        await rename(folder, join(this.layerDir, hexOf(diffId)));
      } catch (error) {
        // The same layer came by another way meanwhile.
        if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'EEXIST') throw error;
        await removeTree(program, folder);
      }
      await syncFolder(this.layerDir);
      this.sizes.set(diffId, sizeBytes);
    } catch (error) {
      await removeTree(program, folder);
      throw diskError(`cannot unpack ${what}`, error);
    }
  }

  private async *checked(
    blob: AsyncIterable<Buffer>,
    hash: ReturnType<typeof createHash>,
    what: string,
  ): AsyncGenerator<Buffer> {
    let length = 0;
    for await (const chunk of decompress(blob, what)) {
      length += chunk.length;
      if (length > this.options.layerBytesMax) {
        throw new EnxameError(
          'invalid-argument',
          `${what} unpacks to more than ${this.options.layerBytesMax} bytes`,
        );
      }
      hash.update(chunk);
      yield chunk;
    }
  }

  async remove(diffId: Digest): Promise<void> {
    this.sizes.delete(diffId);
    // Renamed first and at once: a removal that is cut short leaves rubbish in the temporary folder, not half a layer.
    const rubbish = join(this.options.temporaryDir, temporaryName());
    renameSync(join(this.layerDir, hexOf(diffId)), rubbish);
    await removeTree(this.options.program, rubbish);
  }
}
