/** crun on a bundle of the same root file system as a peer: create, start, delete without network set-up. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../build/tools/crun', import.meta.url));

/** Milliseconds of `crun create` + `crun start` of a sleeping container, for each of `runs`. */
export function measureCrun(rootfs: string, runs: number): number[] {
  const folder = mkdtempSync(join(tmpdir(), 'enxame-bench-crun-'));
  try {
    const program = join(root, 'usr/bin/crun');
    const env = { ...process.env, LD_LIBRARY_PATH: join(root, 'usr/lib/x86_64-linux-gnu') };
    execFileSync(program, ['spec'], { cwd: folder, env });
    const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
    config.root = { path: rootfs, readonly: true };
    config.process.terminal = false;
    config.process.args = ['/bin/busybox', 'sleep', '1000'];
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
    // A machine with cgroup v1 controllers and an empty cgroup2 mount beside them: crun refuses that mixture, so it
    // runs in a mount namespace without the latter.
    const script = `umount /sys/fs/cgroup/unified 2>/dev/null
for i in $(seq ${runs + 3}); do
  a=$(date +%s%N)
  "$CRUN" --root "$STATE" create --bundle "$BUNDLE" bench-$i >/dev/null </dev/null 2>&1 && "$CRUN" --root "$STATE" start bench-$i || exit 1
  b=$(date +%s%N)
  "$CRUN" --root "$STATE" delete --force bench-$i
  echo $((b - a))
done`;
    const output = execFileSync('unshare', ['--mount', 'bash', '-c', script], {
      encoding: 'utf8',
      env: { ...env, CRUN: program, STATE: join(folder, 'state'), BUNDLE: folder },
    });
    return output
      .trim()
      .split('\n')
      .slice(3)
      .map((line) => Number(line) / 1e6);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
