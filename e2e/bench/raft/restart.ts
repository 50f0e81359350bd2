/** How long a member takes to come back with a long log after its last snapshot, and how much memory that needs. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { machineLoad } from '../figures.js';

const entries = Number(process.env.ENXAME_BENCH_ENTRIES ?? 1_000_000);
const entryBytes = 256;

interface Measured {
  seconds: number;
  peakMegabytes: number;
  applied: number;
}

export async function benchRaftRestart(): Promise<void> {
  // On a disk: the temporary folder may be in memory.
  const dir = mkdtempSync('/var/tmp/enxame-raft-restart-');
  try {
    const idle = await member('idle', join(dir, 'idle'));
    const filled = await member('fill', join(dir, 'full'));
    const bytes = folderBytes(join(dir, 'full'));
    const back = await member('restart', join(dir, 'full'));
    if (back.applied < entries) throw new Error(`${back.applied} entries came back of ${entries}`);
    console.log(
      `restart with ${entries} entries of ${entryBytes} bytes after the last snapshot, load ${machineLoad()}`,
    );
    console.log(
      `  written in ${filled.seconds.toFixed(1)} s, ${(bytes / 1e6).toFixed(0)} MB on disk, encrypted`,
    );
    console.log(`  read and applied in ${back.seconds.toFixed(1)} s`);
    console.log(
      `  peak memory ${back.peakMegabytes.toFixed(0)} MB; an empty member has ${idle.peakMegabytes.toFixed(0)} MB`,
    );
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Each in a process of its own, whose memory is nobody else's. */
async function member(task: 'idle' | 'fill' | 'restart', dir: string): Promise<Measured> {
  const program = fileURLToPath(new URL('./restart-member.js', import.meta.url));
  const child = spawn(process.execPath, [program, task, dir, String(entries), String(entryBytes)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  if (code !== 0) throw new Error(`the member that was to ${task} ended with ${String(code)}`);
  return JSON.parse(output) as Measured;
}

function folderBytes(dir: string): number {
  return readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .map((name) => statSync(join(dir, name)))
    .reduce((sum, stat) => sum + (stat.isFile() ? stat.size : 0), 0);
}
