/** One small image, the same in every engine that is measured: busybox alone. */
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../harness/cluster.js';
import type { DockerdPeer } from './dockerd.js';

export const benchImage = 'bench/busybox:1';
export const idleCommand = ['/bin/busybox', 'sleep', '100000'];

/** A root file system of busybox, for a runtime that takes folders. */
export function makeRootfs(folder: string): string {
  const rootfs = join(folder, 'rootfs');
  mkdirSync(join(rootfs, 'bin'), { recursive: true });
  copyFileSync('/bin/busybox', join(rootfs, 'bin/busybox'));
  return rootfs;
}

/** The same image for both: imported by dockerd, saved as an archive, loaded by us. */
export async function importAndSave(dockerd: DockerdPeer, rootfs: string, folder: string): Promise<string> {
  const layer = join(folder, 'rootfs.tar');
  const archive = join(folder, 'image.tar');
  for (const [program, args] of [['tar', ['-C', rootfs, '-cf', layer, '.']]] as const) {
    const result = await run(program, args);
    if (result.code !== 0) throw new Error(result.stderr);
  }
  for (const args of [
    ['import', layer, benchImage],
    ['save', '-o', archive, benchImage],
  ]) {
    const result = await dockerd.docker(args);
    if (result.code !== 0) throw new Error(`docker ${args[0]}: ${result.stderr}`);
  }
  return archive;
}
