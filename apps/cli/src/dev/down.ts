/** `enxame dev down`: ends a local cluster, whoever started it and however it ended before. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { readClusterRecord, releaseClusterIndex } from './cluster-index.js';
import { waitFor } from './engine-client.js';
import { clusterNamePattern, layOutDevCluster, runRoot } from './layout.js';
import { shutDownNode } from './node-process.js';
import { lockCluster } from './supervisor.js';
import { sweep } from './sweep.js';
import { UserError } from '../user-error.js';

const supervisorStopTimeoutMs = 90_000;

export async function down(options: { name: string; purge: boolean }): Promise<void> {
  if (process.getuid?.() !== 0) {
    const command = options.name === 'dev' ? 'npm stop' : `npx enxame dev down --name ${options.name}`;
    throw new UserError(`ending a cluster needs root. Use: sudo ${command}`);
  }
  if (!clusterNamePattern.test(options.name)) {
    throw new UserError(`--name "${options.name}": must match ${clusterNamePattern.source}`);
  }
  const record = readClusterRecord(options.name);
  if (!record) {
    console.log(`there is no cluster "${options.name}"`);
    return;
  }
  const layout = layOutDevCluster(record, record.index);
  let lock = await lockCluster(options.name);
  if (!lock) {
    const pid = Number(readFileSync(`${runRoot}/${options.name}/supervisor.pid`, 'utf8'));
    process.kill(pid, 'SIGTERM');
    lock = await waitFor(`end of the supervisor (process ${pid})`, supervisorStopTimeoutMs, () =>
      lockCluster(options.name),
    );
  } else if (existsSync(layout.runDir)) {
    // The supervisor was killed: its daemons may still run.
    await Promise.all(layout.nodes.map((node) => shutDownNode(node)));
    await sweep(layout);
  }
  if (options.purge) {
    rmSync(layout.stateDir, { recursive: true, force: true });
    releaseClusterIndex(layout.index);
  }
  await new Promise<void>((resolve) => lock.close(() => resolve()));
  console.log(
    `cluster "${options.name}" is down${options.purge ? ' and forgotten' : `; its state stays in ${layout.stateDir}`}`,
  );
}
