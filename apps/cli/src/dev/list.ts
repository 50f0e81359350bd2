/** `enxame dev ls`: the local clusters this machine knows. */
import { listClusterRecords } from './cluster-index.js';
import { runRoot } from './layout.js';
import { lockCluster } from './supervisor.js';

export async function list(): Promise<void> {
  const rows = [['NAME', 'MANAGERS', 'WORKERS', 'STATE', 'SOCKET']];
  for (const record of listClusterRecords()) {
    const lock = await lockCluster(record.name);
    const running = lock === undefined;
    lock?.close();
    rows.push([
      record.name,
      String(record.managers),
      String(record.workers),
      running ? 'running' : 'stopped',
      running ? `unix://${runRoot}/${record.name}/node-1.sock` : '-',
    ]);
  }
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  for (const row of rows)
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('   ')
        .trimEnd(),
    );
}
