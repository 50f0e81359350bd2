/** An image to look around in: Debian's static busybox with all of its commands, as `docker save` would write it. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pack } from 'tar-stream';
import type { TestCluster } from './cluster.js';

export const busyboxImage = 'enxame/busybox:1';
const program = '/bin/busybox';

interface Entry {
  name: string;
  type?: 'file' | 'directory' | 'symlink';
  mode?: number;
  linkname?: string;
  content?: string | Buffer;
}

async function tarOf(entries: readonly Entry[]): Promise<Buffer> {
  const archive = pack();
  for (const { content, ...header } of entries) {
    archive.entry({ mtime: new Date(0), ...header }, content ?? '');
  }
  archive.finalize();
  return buffer(archive);
}

function rootFiles(): Entry[] {
  const commands = execFileSync(program, ['--list'], { encoding: 'utf8' }).trim().split('\n');
  const folders = ['bin', 'etc', 'root', 'home/anna', 'var/empty', 'srv'];
  return [
    ...folders.map((name): Entry => ({ name: `${name}/`, type: 'directory', mode: 0o755 })),
    { name: 'tmp/', type: 'directory', mode: 0o1777 },
    { name: 'bin/busybox', mode: 0o755, content: readFileSync(program) },
    ...commands
      .filter((command) => command !== 'busybox')
      .map((command): Entry => ({ name: `bin/${command}`, type: 'symlink', linkname: 'busybox' })),
    {
      name: 'etc/passwd',
      content: 'root:x:0:0:root:/root:/bin/sh\nanna:x:1000:1000:Anna:/home/anna:/bin/sh\n',
    },
    { name: 'etc/group', content: 'root:x:0:\nanna:x:1000:\naudio:x:29:anna\n' },
    { name: 'srv/of-the-image', content: 'from the image\n' },
  ];
}

/** The archive for `docker load`. `tag` names it; `config` goes over what the image says of itself. */
export async function busyboxArchive(
  tag = busyboxImage,
  config: Record<string, unknown> = {},
): Promise<Buffer> {
  const layer = await tarOf(rootFiles());
  const imageConfig = JSON.stringify({
    created: '2026-01-01T00:00:00Z',
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: { Cmd: ['sh'], Env: ['PATH=/bin'], ...config },
    rootfs: { type: 'layers', diff_ids: [`sha256:${createHash('sha256').update(layer).digest('hex')}`] },
    history: [{ created: '2026-01-01T00:00:00Z', created_by: 'COPY busybox /bin' }],
  });
  return tarOf([
    { name: 'config.json', content: imageConfig },
    { name: 'layer.tar', content: layer },
    {
      name: 'manifest.json',
      content: JSON.stringify([{ Config: 'config.json', RepoTags: [tag], Layers: ['layer.tar'] }]),
    },
  ]);
}

export async function loadBusybox(cluster: TestCluster, node = 1): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'enxame-busybox-'));
  try {
    const file = join(folder, 'busybox.tar');
    writeFileSync(file, await busyboxArchive());
    await cluster.docker(['load', '-q', '-i', file], { node });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
