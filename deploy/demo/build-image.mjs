// Builds the demo images: enxame/demo:1, :2 and :bad (its health check fails), each as the archive `docker save`
// writes (an OCI layout with a manifest.json beside it). The same source and compiler give the same bytes.
//
//   node deploy/demo/build-image.mjs [output folder, build/demo by default]
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';

const here = dirname(fileURLToPath(import.meta.url));
const outputDir = resolve(process.argv[2] ?? join(here, '..', '..', 'build', 'demo'));
const created = '2026-01-01T00:00:00Z';
const second = 1_000_000_000;

const variants = [
  { tag: '1', env: ['DEMO_VERSION=1'] },
  { tag: '2', env: ['DEMO_VERSION=2'] },
  { tag: 'bad', env: ['DEMO_VERSION=bad', 'DEMO_FAIL_HEALTH=1'] },
];

const compilerFlags = [
  '-O2',
  '-static',
  '-s',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-D_FORTIFY_SOURCE=3',
  '-fstack-protector-strong',
];

/** Go's names, as image configs carry them. */
const architectures = { x64: 'amd64', arm64: 'arm64' };

function archivePath(variant) {
  return join(outputDir, `enxame-demo-${variant.tag}.tar`);
}

function modifiedAt(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function isFresh() {
  const newestSource = Math.max(modifiedAt(join(here, 'demo.c')), modifiedAt(join(here, 'build-image.mjs')));
  return variants.every((variant) => modifiedAt(archivePath(variant)) > newestSource);
}

function compile() {
  const workDir = mkdtempSync(join(tmpdir(), 'enxame-demo-'));
  try {
    const program = join(workDir, 'demo');
    execFileSync('cc', [...compilerFlags, '-o', program, join(here, 'demo.c')], { stdio: 'inherit' });
    return readFileSync(program);
  } finally {
    rmSync(workDir, { recursive: true, force: true });
  }
}

async function tarOf(entries) {
  const archive = pack();
  const chunks = [];
  archive.on('data', (chunk) => chunks.push(chunk));
  const ended = new Promise((fulfil, reject) => archive.on('end', fulfil).on('error', reject));
  for (const entry of entries) {
    const { content, ...header } = entry;
    archive.entry(
      { mtime: new Date(created), uid: 0, gid: 0, uname: '', gname: '', ...header },
      content ?? '',
    );
  }
  archive.finalize();
  await ended;
  return Buffer.concat(chunks);
}

function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex');
}

function jsonBytes(value) {
  return Buffer.from(JSON.stringify(value));
}

/** The blobs of one image and the files that name them. */
function describeImage(variant, layerTar, layer) {
  const architecture = architectures[process.arch] ?? process.arch;
  const config = jsonBytes({
    created,
    architecture,
    os: 'linux',
    config: {
      ExposedPorts: { '8080/tcp': {} },
      Env: ['PATH=/', ...variant.env],
      Entrypoint: ['/demo'],
      WorkingDir: '/',
      StopSignal: 'SIGTERM',
      Labels: {
        'org.opencontainers.image.title': 'Enxame demo',
        'org.opencontainers.image.version': variant.tag,
      },
      Healthcheck: {
        Test: ['CMD', '/demo', 'healthcheck'],
        Interval: 2 * second,
        Timeout: 2 * second,
        StartPeriod: 10 * second,
        StartInterval: second / 10,
        Retries: 3,
      },
    },
    rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(layerTar)}`] },
    history: [
      { created, created_by: 'COPY demo /demo' },
      { created, created_by: `ENV ${variant.env.join(' ')}`, empty_layer: true },
    ],
  });
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = jsonBytes({
    schemaVersion: 2,
    mediaType,
    config: {
      mediaType: 'application/vnd.oci.image.config.v1+json',
      digest: `sha256:${sha256(config)}`,
      size: config.length,
    },
    layers: [
      {
        mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
        digest: `sha256:${sha256(layer)}`,
        size: layer.length,
      },
    ],
  });
  const reference = `enxame/demo:${variant.tag}`;
  const index = jsonBytes({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [
      {
        mediaType,
        digest: `sha256:${sha256(manifest)}`,
        size: manifest.length,
        platform: { architecture, os: 'linux' },
        annotations: {
          'io.containerd.image.name': `docker.io/${reference}`,
          'org.opencontainers.image.ref.name': variant.tag,
        },
      },
    ],
  });
  const savedManifest = jsonBytes([
    {
      Config: `blobs/sha256/${sha256(config)}`,
      RepoTags: [reference],
      Layers: [`blobs/sha256/${sha256(layer)}`],
    },
  ]);
  const blobs = [config, layer, manifest].map((content) => ({
    name: `blobs/sha256/${sha256(content)}`,
    content,
  }));
  return [
    ...blobs,
    { name: 'index.json', content: index },
    { name: 'manifest.json', content: savedManifest },
    { name: 'oci-layout', content: jsonBytes({ imageLayoutVersion: '1.0.0' }) },
  ];
}

async function build() {
  const layerTar = await tarOf([
    { name: 'demo', mode: 0o755, content: compile() },
    { name: 'etc/', type: 'directory', mode: 0o755 },
    {
      name: 'etc/passwd',
      mode: 0o644,
      content: 'root:x:0:0:root:/:/demo\nnobody:x:65534:65534:nobody:/:/demo\n',
    },
    { name: 'etc/group', mode: 0o644, content: 'root:x:0:\nnogroup:x:65534:\n' },
    { name: 'tmp/', type: 'directory', mode: 0o1777 },
  ]);
  const layer = gzipSync(layerTar, { level: 9 });
  mkdirSync(outputDir, { recursive: true });
  for (const variant of variants) {
    const archive = await tarOf(describeImage(variant, layerTar, layer));
    // A whole archive or none: set-up may be interrupted.
    const temporary = `${archivePath(variant)}.${process.pid}`;
    writeFileSync(temporary, archive);
    renameSync(temporary, archivePath(variant));
    console.log(archivePath(variant));
  }
}

if (isFresh()) for (const variant of variants) console.log(archivePath(variant));
else await build();
