/** What engines keep in memory beside the containers themselves. */
import { readdirSync, readFileSync } from 'node:fs';
import { call } from './api-call.js';
import { benchImage, idleCommand } from './bench-image.js';

const idleContainers = 10;

/**
 * MB of PSS per container of the processes that stand beside it; the containers' own are not among them. Pages that
 * all keepers share are counted once in their sum, so what one of them costs is the sum's share.
 */
export async function idleMemory(
  socket: string,
  isKeeper: (title: readonly string[], ids: ReadonlySet<string>) => boolean,
): Promise<number> {
  const ids = new Set<string>();
  for (let i = 0; i < idleContainers; i++) {
    const { Id } = await call<{ Id: string }>(socket, 'POST', '/containers/create', {
      Image: benchImage,
      Cmd: idleCommand,
    });
    await call(socket, 'POST', `/containers/${Id}/start`);
    ids.add(Id);
  }
  const kibibytes = pssOf((title) => isKeeper(title, ids));
  for (const id of ids) await call(socket, 'DELETE', `/containers/${id}?force=1`);
  return kibibytes / idleContainers / 1024;
}

/** Our keepers carry their container's id; the launcher they were forked from is one per node. */
export function isOurKeeper([name = '', detail = '']: readonly string[], ids: ReadonlySet<string>): boolean {
  return (
    (name === 'enxame-shim' && ids.has(detail)) ||
    (name === 'enxame-launcher' && detail.startsWith('/run/enxame/bench/node-1/'))
  );
}

export function isContainerdShim(
  [name = '', ...words]: readonly string[],
  ids: ReadonlySet<string>,
): boolean {
  return name.includes('containerd-shim') && words.some((word) => ids.has(word));
}

/** KiB of PSS of the processes of this machine that `counts` accepts, by their title: name and arguments. */
export function pssOf(counts: (title: readonly string[]) => boolean): number {
  let sum = 0;
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const title = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split(/[\0 ]/);
      if (!counts(title)) continue;
      const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
      sum += Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0);
    } catch {
      // The process ended while it was looked at.
    }
  }
  return sum;
}
