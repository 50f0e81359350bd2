#!/usr/bin/env node
/** `npm run build:ts`: compiles the TypeScript, forgets what has no source any more, and bundles the programs. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** A spec that was deleted or renamed would else run for ever. */
function removeOrphans(folder) {
  const emitted = join(root, 'dist', folder);
  if (!existsSync(emitted)) return;
  for (const entry of readdirSync(emitted, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (!entry.isDirectory()) {
      const source = path.replace(/\.js(\.map)?$/, '.ts');
      if (source !== path && !existsSync(join(root, source))) rmSync(join(root, 'dist', path));
    } else if (existsSync(join(root, path))) removeOrphans(path);
    else rmSync(join(root, 'dist', path), { recursive: true });
  }
}

function compile() {
  const compiler = join(root, 'node_modules/@typescript/native/bin/tsc');
  const result = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.json'], {
    cwd: root,
    stdio: 'inherit',
  });
  if (result.status !== 0) process.exit(result.status ?? 1);
}

for (const folder of ['apps', 'libs', 'e2e']) removeOrphans(folder);
compile();
// Loaded last: a type error is told without it.
const { bundlePrograms } = await import('./bundle-programs.mjs');
await bundlePrograms(root);
