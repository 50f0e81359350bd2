/**
 * What makes blobs an image: one small file per image, and one file with all names. Both are replaced whole; an image
 * is written after its blobs and layers are on the disk and before a name points to it.
 */
import type { Digest, ImageId } from '#libs/model';
import { mkdirSync } from 'node:fs';
import { readFile, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { hexOf } from '../content/content-store.js';
import { errnoOf, writeFileWhole } from '../content/disk.js';

/** A manifest this node can serve, with the indexes that led to it: all content, none of it computed. */
export interface ManifestRecord {
  digest: Digest;
  mediaType: string;
  layers: { digest: Digest; size: number; mediaType: string; urls?: string[] }[];
  indexes: { digest: Digest; mediaType: string }[];
}

export interface ImageRecord {
  id: ImageId;
  addedAtMs: number;
  /** The image it was built on here. */
  parent?: ImageId;
  /** What a build did to the parent to get it: the key of the build cache. */
  buildKey?: string;
  lastTaggedAtMs?: number;
  /** The same config can stand in several manifests (other compression). The first one is the image's. */
  manifests: ManifestRecord[];
}

/** How a name came to this node: a name that came from a registry is asked about there. */
export type Origin = 'registry' | 'local';

export interface NameRecord {
  imageId: ImageId;
  /** What the name stands for in the registry: a manifest or an index. */
  digest: Digest;
  origin: Origin;
}

export interface Names {
  /** By `docker.io/library/demo:1`. */
  tags: Record<string, NameRecord>;
  /** By `docker.io/library/demo@sha256:...`. */
  digests: Record<string, NameRecord>;
}

const formatVersion = 1;

export class ImageRecords {
  private readonly imageDir: string;
  private readonly namesPath: string;

  constructor(
    dir: string,
    private readonly temporaryDir: string,
    private readonly log: (message: string, error: unknown) => void,
  ) {
    this.imageDir = join(dir, 'images');
    this.namesPath = join(dir, 'names.json');
  }

  async readAll(): Promise<{ images: ImageRecord[]; names: Names }> {
    mkdirSync(this.imageDir, { recursive: true, mode: 0o700 });
    const images: ImageRecord[] = [];
    for (const name of (await readdir(this.imageDir)).toSorted()) {
      if (!name.endsWith('.json')) continue;
      const record = await this.readJson<ImageRecord>(join(this.imageDir, name));
      if (record !== undefined) images.push(record);
    }
    const names = await this.readJson<Names>(this.namesPath);
    return { images, names: { tags: names?.tags ?? {}, digests: names?.digests ?? {} } };
  }

  /** A file that cannot be read is set aside: the image can be pulled again, the node must start. */
  private async readJson<T>(path: string): Promise<T | undefined> {
    try {
      const document: unknown = JSON.parse(await readFile(path, 'utf8'));
      if (typeof document === 'object' && document !== null && 'version' in document) {
        if (document.version === formatVersion) return document as T;
      }
      throw new Error(`${path} has an unknown format`);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      this.log(`image record ${path} is damaged and set aside`, error);
      await rename(path, `${path}.damaged`);
      return undefined;
    }
  }

  async writeImage(record: ImageRecord): Promise<void> {
    const bytes = Buffer.from(JSON.stringify({ version: formatVersion, ...record }));
    await writeFileWhole(join(this.imageDir, `${hexOf(record.id)}.json`), bytes, this.temporaryDir);
  }

  async removeImage(id: ImageId): Promise<void> {
    await rm(join(this.imageDir, `${hexOf(id)}.json`), { force: true });
  }

  /** The caller sees to it that an older state is not written after a newer one. */
  async writeNames(names: Names): Promise<void> {
    const bytes = Buffer.from(JSON.stringify({ version: formatVersion, ...names }));
    await writeFileWhole(this.namesPath, bytes, this.temporaryDir);
  }
}
