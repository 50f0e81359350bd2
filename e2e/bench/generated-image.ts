/** Layers like those of real images: many small files, some big ones, text that packs to about a third. */
import { createHash, type Hash } from 'node:crypto';
import { finished } from 'node:stream/promises';
import { createGzip, gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';

export interface GeneratedLayer {
  packed: Buffer;
  diffId: string;
  files: number;
  plainBytes: number;
  /** Of the plain tar so far. */
  hash: Hash;
}

const poolBytes = 32 * 1024 * 1024;
const fileBytesMin = 100;
const fileBytesMax = 300_000;
const filesPerFolder = 40;

/** A small generator of its own (mulberry32), so that every run and machine has the same files. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function poolOf(random: () => number): Buffer {
  const words = Array.from({ length: 4000 }, () =>
    Array.from({ length: 2 + Math.floor(random() * 9) }, () =>
      String.fromCharCode(97 + Math.floor(random() * 26)),
    ).join(''),
  );
  const pool = Buffer.alloc(poolBytes);
  for (let at = 0; at < poolBytes; ) {
    at += pool.write(`${words[Math.floor(random() ** 4 * words.length)]} `, at);
  }
  return pool;
}

export async function generateLayers(
  shares: readonly number[],
  plainBytes: number,
): Promise<GeneratedLayer[]> {
  const pool = poolOf(randomOf(1));
  const layers: GeneratedLayer[] = [];
  for (const [index, share] of shares.entries()) {
    layers.push(await generateLayer(pool, index, plainBytes * share));
  }
  return layers;
}

async function generateLayer(pool: Buffer, index: number, plainBytes: number): Promise<GeneratedLayer> {
  const random = randomOf(100 + index);
  const archive = pack();
  const gzip = createGzip({ level: 6, chunkSize: 1024 * 1024 });
  const hash = createHash('sha256');
  const chunks: Buffer[] = [];
  gzip.on('data', (chunk: Buffer) => chunks.push(chunk));
  archive.on('data', (data) => {
    const chunk = data as Buffer;
    hash.update(chunk);
    if (!gzip.write(chunk)) {
      archive.pause();
      gzip.once('drain', () => archive.resume());
    }
  });
  archive.on('end', () => gzip.end());
  let files = 0;
  for (let written = 0; written < plainBytes; files++) {
    const size = Math.floor(fileBytesMin * (fileBytesMax / fileBytesMin) ** random());
    const start = Math.floor(random() * (poolBytes - size));
    const name = `usr/share/layer-${index}/${Math.floor(files / filesPerFolder)}/file-${files}`;
    const mode = random() < 0.1 ? 0o755 : 0o644;
    const content = pool.subarray(start, start + size);
    await new Promise<void>((resolve, reject) => {
      archive.entry({ name, mode, mtime: new Date(0) }, content, (error) =>
        error ? reject(error) : resolve(),
      );
    });
    written += size;
  }
  archive.finalize();
  await finished(gzip);
  return { packed: Buffer.concat(chunks), diffId: diffIdOf(hash), files, plainBytes, hash };
}

function diffIdOf(hash: Hash): string {
  return `sha256:${hash.copy().digest('hex')}`;
}

const blockBytes = 512;

/**
 * The same files as layers that nobody has seen yet: as many more empty blocks after the end of the archive, which
 * every reader skips and every digest counts.
 */
export function freshLayers(layers: readonly GeneratedLayer[], blocks: number): GeneratedLayer[] {
  const more = Buffer.alloc(blocks * blockBytes);
  return layers.map((layer) => {
    const hash = layer.hash.copy().update(more);
    return { ...layer, packed: Buffer.concat([layer.packed, gzipSync(more)]), diffId: diffIdOf(hash), hash };
  });
}
