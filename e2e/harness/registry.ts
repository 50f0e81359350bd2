/** Debian's docker-registry on an address of the test's own, and a plain push to it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { createServer, request as httpRequest, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { eventually, run } from './cluster.js';

export class TestRegistry {
  private readonly folder = mkdtempSync(join(tmpdir(), 'enxame-registry-'));
  private readonly children: ChildProcess[] = [];

  constructor(
    readonly host: string,
    readonly port: number,
  ) {}

  get name(): string {
    return `${this.host}:${this.port}`;
  }

  async start(): Promise<void> {
    const config = join(this.folder, 'config.yml');
    writeFileSync(
      config,
      `version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: ${join(this.folder, 'data')}\nhttp:\n  addr: ${this.name}\n`,
    );
    this.children.push(spawn('docker-registry', ['serve', config], { stdio: 'ignore' }));
    await eventually('the registry', 15_000, async () => (await fetch(`http://${this.name}/v2/`)).ok);
  }

  /** Serves the same images under the same name inside a network namespace. */
  serveIn(namespace: string): void {
    const config = join(this.folder, 'config.yml');
    const program = ['docker-registry', 'serve', config];
    this.children.push(
      spawn('nsenter', [`--net=/run/netns/${namespace}`, '--', ...program], { stdio: 'ignore' }),
    );
  }

  stop(): void {
    for (const child of this.children) child.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Pushes one gzip layer with a config; returns the manifest's digest. */
  async push(repository: string, tag: string, layer: Buffer, config: object): Promise<string> {
    const packed = gzipSync(layer, { level: 1 });
    return this.pushLayers(repository, tag, [{ packed, diffId: digestOf(layer) }], config);
  }

  async pushLayers(
    repository: string,
    tag: string,
    layers: readonly { packed: Buffer; diffId: string }[],
    config: object,
  ): Promise<string> {
    const imageConfig = Buffer.from(
      JSON.stringify({
        architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
        os: 'linux',
        config,
        rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
      }),
    );
    for (const { packed } of layers) await this.pushBlob(repository, packed);
    await this.pushBlob(repository, imageConfig);
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        config: {
          mediaType: 'application/vnd.oci.image.config.v1+json',
          digest: digestOf(imageConfig),
          size: imageConfig.length,
        },
        layers: layers.map(({ packed }) => ({
          mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
          digest: digestOf(packed),
          size: packed.length,
        })),
      }),
    );
    const answer = await fetch(`http://${this.name}/v2/${repository}/manifests/${tag}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/vnd.oci.image.manifest.v1+json' },
      body: new Uint8Array(manifest),
    });
    if (!answer.ok) throw new Error(`pushing the manifest: ${answer.status} ${await answer.text()}`);
    return digestOf(manifest);
  }

  /** Damages a stored blob, as a failing disk would. */
  damageBlob(digest: string): void {
    const hex = digest.slice('sha256:'.length);
    const file = join(this.folder, 'data/docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex, 'data');
    const bytes = readFileSync(file);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0xff;
    writeFileSync(file, bytes);
  }

  private async pushBlob(repository: string, blob: Buffer): Promise<void> {
    const start = await fetch(`http://${this.name}/v2/${repository}/blobs/uploads/`, { method: 'POST' });
    const location = new URL(start.headers.get('location') ?? '', `http://${this.name}`);
    location.searchParams.set('digest', digestOf(blob));
    const answer = await fetch(location, {
      method: 'PUT',
      headers: { 'content-type': 'application/octet-stream' },
      body: new Uint8Array(blob),
    });
    if (!answer.ok) throw new Error(`pushing a blob: ${answer.status} ${await answer.text()}`);
  }
}

/** Lets nobody through to a registry but who knows the password. */
export class RegistryGuard {
  readonly username = 'anna';
  readonly password = 'opensesame';
  private readonly server: Server;

  constructor(
    private readonly registry: TestRegistry,
    private readonly port: number,
  ) {
    const expected = `Basic ${this.encoded}`;
    this.server = createServer((request, response) => {
      if (request.headers.authorization !== expected) {
        response.writeHead(401, { 'www-authenticate': 'Basic realm="guarded"' }).end();
        return;
      }
      const { method, url: path, headers } = request;
      const onward = httpRequest(
        { host: registry.host, port: registry.port, method, path, headers },
        (answer) => {
          response.writeHead(answer.statusCode ?? 502, answer.headers);
          answer.pipe(response);
        },
      );
      onward.on('error', () => response.destroy());
      request.pipe(onward);
    });
  }

  get name(): string {
    return `${this.registry.host}:${this.port}`;
  }

  /** As it stands in a docker CLI's `config.json`. */
  get encoded(): string {
    return Buffer.from(`${this.username}:${this.password}`).toString('base64');
  }

  async start(): Promise<void> {
    this.server.listen(this.port, this.registry.host);
    await once(this.server, 'listening');
  }

  stop(): void {
    this.server.close();
    this.server.closeAllConnections();
  }
}

export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** A layer with a Debian program, the libraries its loader wants, and the few files any program expects. */
export async function layerOfProgram(program: string, installedAs: string): Promise<Buffer> {
  const folder = mkdtempSync(join(tmpdir(), 'enxame-layer-'));
  try {
    const file = realpathSync(program);
    copy(file, join(folder, installedAs));
    const libraries = await run('ldd', [file]);
    for (const match of libraries.stdout.matchAll(/(\/\S+) \(0x/g))
      copy(realpathSync(match[1]!), join(folder, match[1]!));
    for (const name of ['etc', 'tmp', 'data']) mkdirSync(join(folder, name), { recursive: true });
    writeFileSync(
      join(folder, 'etc/passwd'),
      'root:x:0:0:root:/root:/bin/sh\nredis:x:999:999::/data:/usr/sbin/nologin\n',
    );
    writeFileSync(join(folder, 'etc/group'), 'root:x:0:\nredis:x:999:\n');
    const archive = join(folder, '..', `${digestOf(Buffer.from(folder)).slice(7, 19)}.tar`);
    const result = await run('tar', ['-C', folder, '--owner=0', '--group=0', '-cf', archive, '.']);
    if (result.code !== 0) throw new Error(`tar: ${result.stderr}`);
    const bytes = readFileSync(archive);
    rmSync(archive);
    return bytes;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function copy(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to, { dereference: true });
}
