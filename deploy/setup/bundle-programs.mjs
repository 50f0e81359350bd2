/**
 * Makes one file of each program. Node needs 1.4 s of processor time to find and load the 2,000 modules of a manager,
 * and 0.3 s for the same code in one file: that is most of the time until a killed manager answers again.
 */
import { build } from 'esbuild';
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

/** They lie beside each other in dist/programs and find each other there. */
const programs = {
  enxame: 'dist/apps/cli/src/main.js',
  agent: 'dist/apps/agent/src/main.js',
  manager: 'dist/apps/manager/src/main.js',
  // The manager's thread that writes the Raft log.
  'storage-worker': 'dist/libs/raft/src/wal/storage-worker.js',
};

/** The part of enxame-runtime that is not C. It is started for each container, so it is what Node starts quickest: a script. */
const scripts = { 'runtime-translator': 'dist/libs/runtime/src/oci/main.js' };

/** What NestJS would load if it were installed and asked for. */
const absent = [
  '@nestjs/microservices',
  '@nestjs/websockets',
  '@nestjs/platform-express',
  '@fastify/multipart',
  '@fastify/static',
  '@fastify/view',
  'class-transformer/storage',
];

/** Packages get a map that names their files only: with all their lines it would be five times the size. */
const namesOfPackageFiles = {
  name: 'names-of-package-files',
  setup(bundle) {
    bundle.onLoad({ filter: /\/node_modules\/.*\.[cm]?js$/ }, async ({ path }) => {
      const map = JSON.stringify({ version: 3, sources: [basename(path)], mappings: 'AAAA' });
      const comment = `\n//# sourceMappingURL=data:application/json;base64,${Buffer.from(map).toString('base64')}`;
      return { contents: (await readFile(path, 'utf8')) + comment, loader: 'js' };
    });
  },
};

export async function bundlePrograms(root) {
  const folder = join(root, 'dist', 'programs');
  const inputsFile = join(folder, 'inputs.json');
  if (isNewerThanInputs(root, inputsFile)) return;
  rmSync(inputsFile, { force: true });
  const common = {
    absWorkingDir: root,
    outdir: folder,
    bundle: true,
    platform: 'node',
    target: 'node20',
    legalComments: 'none',
    metafile: true,
    logLevel: 'warning',
  };
  const small = await build({
    ...common,
    entryPoints: scripts,
    format: 'cjs',
    outExtension: { '.js': '.cjs' },
    minify: true,
  });
  const { metafile } = await build({
    ...common,
    entryPoints: programs,
    format: 'esm',
    // Packages written for require() ask for Node's own modules with it.
    banner: {
      js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
    },
    external: absent,
    // NestJS and our errors show the names of classes.
    keepNames: true,
    // A third less to read at each start; nothing else is made shorter.
    minifyWhitespace: true,
    sourcemap: 'linked',
    sourcesContent: false,
    plugins: [namesOfPackageFiles],
  });
  const inputs = [...Object.keys(metafile.inputs), ...Object.keys(small.metafile.inputs)];
  const own = [...new Set(inputs)].filter((input) => !input.includes('node_modules/'));
  writeFileSync(
    inputsFile,
    JSON.stringify([...own, 'package-lock.json', 'deploy/setup/bundle-programs.mjs']),
  );
}

/** The inputs' list is written last, so its time is that of the whole bundle. */
function isNewerThanInputs(root, inputsFile) {
  if (!existsSync(inputsFile)) return false;
  const bundledAtMs = statSync(inputsFile).mtimeMs;
  return JSON.parse(readFileSync(inputsFile, 'utf8')).every((input) => {
    const file = join(root, input);
    return existsSync(file) && statSync(file).mtimeMs <= bundledAtMs;
  });
}
