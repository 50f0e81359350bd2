/** One run of a container's health check: a process inside that ends in time or is killed. */
import { isEnxameError } from '#libs/model';
import type { ExecPlan } from '../launcher/launch-plan.js';
import type { ShimClient } from '../launcher/shim-client.js';
import type { RuntimeClock } from '../options.js';
import { probeOutputBytesMax, truncateOutput } from '../health/health-state.js';

const sigkill = 9;
const neverRan = -1;

/** Undefined: the container has ended. */
export async function runProbe(options: {
  shim: ShimClient;
  plan: ExecPlan;
  clock: RuntimeClock;
  timeoutMs: number;
}): Promise<{ exitCode: number; output: string } | undefined> {
  const { shim, plan, clock, timeoutMs } = options;
  let outcome;
  try {
    outcome = await shim.exec(plan);
  } catch (error) {
    if (isEnxameError(error) && error.code === 'not-found') return undefined;
    throw error;
  }
  if (!outcome.ok) return { exitCode: neverRan, output: outcome.message };
  const { session } = outcome;
  const chunks: Buffer[] = [];
  let length = 0;
  let isMore = false;
  const take = (chunk: Buffer): void => {
    // Read to its end all the same: a full pipe would stop the probe.
    if (length >= probeOutputBytesMax) isMore = true;
    else chunks.push(chunk);
    length += chunk.length;
  };
  session.stdout.on('data', take);
  session.stderr.on('data', take);
  let timedOut = false;
  const cancel = clock.setTimeout(() => {
    timedOut = true;
    // It may end by itself at this moment; closing kills whatever is left.
    session.kill(sigkill).then(
      () => session.close(),
      () => session.close(),
    );
  }, timeoutMs);
  const { exitCode } = await session.exited;
  cancel();
  session.close();
  const output = truncateOutput(Buffer.concat(chunks), isMore);
  if (!timedOut) return { exitCode, output };
  const why = `Health check exceeded timeout (${formatMs(timeoutMs)})`;
  return { exitCode: neverRan, output: output === '' ? why : `${why}: ${output}` };
}

/** As Go prints durations of this kind: `500ms`, `30s`, `1m30s`. */
function formatMs(ms: number): string {
  if (ms < 1_000) return `${ms}ms`;
  const minutes = Math.floor(ms / 60_000);
  const seconds = (ms % 60_000) / 1_000;
  return minutes === 0 ? `${seconds}s` : `${minutes}m${seconds}s`;
}
