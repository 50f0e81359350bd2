/** `npm run bench -- build`: ten steps of the classic builder, two of them commands, beside dockerd. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { busyboxArchive, busyboxImage } from '../harness/busybox-image.js';
import { run, TestCluster } from '../harness/cluster.js';
import { DockerdPeer } from './dockerd.js';
import { printTable, summarize, type Row } from './figures.js';

const uncachedRuns = 5;
const cachedRuns = 10;
const files = 20;

const dockerfile = `FROM ${busyboxImage}
ENV KIND=bench
WORKDIR /app
COPY one /app/one
RUN echo built > built && ls /app/one > list
COPY two /app/two
RUN cat /app/two/* > all
EXPOSE 80
LABEL kind=bench
CMD ["sh"]
`;

export async function benchBuild(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'enxame-bench-'));
  const cluster = new TestCluster('bench', 0);
  const dockerd = new DockerdPeer();
  try {
    await Promise.all([cluster.up(), dockerd.start()]);
    writeFileSync(join(folder, 'busybox.tar'), await busyboxArchive());
    const context = join(folder, 'context');
    for (const name of ['one', 'two']) {
      mkdirSync(join(context, name), { recursive: true });
      for (let i = 0; i < files; i++)
        writeFileSync(join(context, name, `file-${i}`), `${name} ${i}\n`.repeat(100));
    }
    writeFileSync(join(context, 'Dockerfile'), dockerfile);
    const rows: Row[] = [];
    for (const [figure, args, runs, aim] of [
      ['build of 10 steps, uncached', ['--no-cache'], uncachedRuns, 3],
      ['build of 10 steps, cached', [], cachedRuns, 2],
    ] as const) {
      const ours = summarize(await timedBuilds(cluster.socket, folder, context, args, runs));
      const theirs = summarize(await timedBuilds(dockerd.socket, folder, context, args, runs));
      rows.push({
        figure: `${figure}, median`,
        unit: 's',
        ours: ours.median,
        peer: 'dockerd',
        theirs: theirs.median,
        aim: `${aim}x`,
        met: theirs.median / ours.median >= aim,
      });
    }
    console.log(`load ${loadavg()[0]?.toFixed(1)}`);
    printTable('Building', rows);
  } finally {
    rmSync(folder, { recursive: true, force: true });
    const endings = await Promise.allSettled([dockerd.stop(), cluster.end()]);
    for (const ending of endings) if (ending.status === 'rejected') console.error(ending.reason);
  }
}

/** Seconds of each `docker build`, as the CLI sees it. One more is made first. */
async function timedBuilds(
  socket: string,
  folder: string,
  context: string,
  args: readonly string[],
  runs: number,
): Promise<number[]> {
  const env = { DOCKER_HOST: `unix://${socket}`, DOCKER_BUILDKIT: '0', DOCKER_CLI_HINTS: 'false' };
  const loaded = await run('docker', ['load', '-q', '-i', join(folder, 'busybox.tar')], { env });
  if (loaded.code !== 0) throw new Error(`docker load: ${loaded.stderr}`);
  const samples: number[] = [];
  for (let i = 0; i <= runs; i++) {
    const startedAt = performance.now();
    const built = await run('docker', ['build', ...args, '-t', 'bench/built:1', context], { env });
    if (i > 0) samples.push((performance.now() - startedAt) / 1000);
    if (built.code !== 0) throw new Error(`docker build: ${built.stderr}${built.stdout}`);
  }
  return samples;
}
