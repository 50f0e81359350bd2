/** `npm run bench -- pull`: an image of 1 GB in seven layers from a registry on the same machine, beside dockerd. */
import { loadavg } from 'node:os';
import { run, TestCluster } from '../harness/cluster.js';
import { TestRegistry } from '../harness/registry.js';
import { DockerdPeer } from './dockerd.js';
import { printTable, summarize } from './figures.js';
import { freshLayers, generateLayers } from './generated-image.js';

const runs = 3;
/** Of the plain bytes; one base, a few steps on it. */
const shares = [0.3, 0.25, 0.15, 0.12, 0.1, 0.05, 0.03];
const plainBytesDefault = 1_060_000_000;
const pullMsMax = 180_000;

export async function benchPull(): Promise<void> {
  const plainBytes = Number(process.env['ENXAME_BENCH_PULL_BYTES'] ?? plainBytesDefault);
  const registry = new TestRegistry('127.0.0.1', 15_077);
  const cluster = new TestCluster('bench', 0);
  const dockerd = new DockerdPeer();
  try {
    await Promise.all([cluster.up(), dockerd.start(), registry.start()]);
    registry.serveIn(dockerd.namespace);
    const layers = await generateLayers(shares, plainBytes);
    const packedBytes = layers.reduce((sum, { packed }) => sum + packed.length, 0);
    const files = layers.reduce((sum, layer) => sum + layer.files, 0);
    console.log(
      `image: ${layers.length} layers, ${files} files, ${(plainBytes / 1e6).toFixed(0)} MB unpacked, ${(packedBytes / 1e6).toFixed(0)} MB packed`,
    );
    const samples: Record<'ours' | 'theirs', number[]> = { ours: [], theirs: [] };
    for (let i = 0; i < runs; i++) {
      await registry.pushLayers('bench/big', `${i}`, freshLayers(layers, i), { Cmd: ['none'] });
      const image = `${registry.name}/bench/big:${i}`;
      samples.ours.push(await timedPull(cluster.socket, image));
      samples.theirs.push(await timedPull(dockerd.socket, image));
    }
    const ours = summarize(samples.ours);
    const theirs = summarize(samples.theirs);
    const spread = ({ min, median, max }: typeof ours): string =>
      `${min.toFixed(1)} / ${median.toFixed(1)} / ${max.toFixed(1)} s`;
    console.log(
      `min / median / max: ours ${spread(ours)}; dockerd ${spread(theirs)}; load ${loadavg()[0]?.toFixed(1)}`,
    );
    printTable('Pulling', [
      {
        figure: `pull of ${(packedBytes / 1e6).toFixed(0)} MB in ${layers.length} layers, median`,
        unit: 's',
        ours: ours.median,
        peer: 'dockerd',
        theirs: theirs.median,
        aim: '2x',
        met: theirs.median / ours.median >= 2,
      },
    ]);
  } finally {
    registry.stop();
    const endings = await Promise.allSettled([dockerd.stop(), cluster.end()]);
    for (const ending of endings) if (ending.status === 'rejected') console.error(ending.reason);
  }
}

/**
 * Seconds of `docker pull`, as the CLI sees it. What was written before is on the disk by then. The image stays: some
 * file systems make it slow to write files where others were just removed.
 */
async function timedPull(socket: string, image: string): Promise<number> {
  await run('sync', [], { timeoutMs: pullMsMax });
  const startedAt = performance.now();
  const pulled = await run('docker', ['pull', '-q', image], {
    env: { DOCKER_HOST: `unix://${socket}` },
    timeoutMs: pullMsMax,
  });
  const seconds = (performance.now() - startedAt) / 1000;
  if (pulled.code !== 0) throw new Error(`docker pull: ${pulled.stderr}`);
  return seconds;
}
