/** One world from its seed, and what is said when it fails. */
import { type FaultName, faultyRules, needsOf } from '#libs/raft/testing';
import { drawLife, drawOptions, withPlot, type WorldOptions } from './options.js';
import { type PlotName, plotThatShows } from './plots/index.js';
import type { RunReport } from './report.js';
import { World } from './world.js';

export interface RunRequest {
  seed: number;
  /** The first instead of whatever is drawn: one of the plots, or the life of every day alone. */
  plot?: PlotName | 'none';
  /** Every member has this fault. */
  fault?: FaultName;
  trace?: (line: string) => void;
}

/** Throws an Error that begins with the seed and what was drawn from it, and ends with how to see it again. */
export async function runWorld({ seed, plot, fault, trace }: RunRequest): Promise<RunReport> {
  const options = optionsFor(seed, plot);
  const world = new World(options, fault === undefined ? undefined : faultyRules(fault));
  world.trace = trace;
  try {
    return await world.execute();
  } catch (cause) {
    const what = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
    throw new Error(
      `seed ${seed}: ${JSON.stringify(options)}\n${what}\n` +
        `again, with everything that happens: npm run --silent sim -- --seed ${seed} --worlds 1 --trace` +
        (plot === undefined ? '' : ` --plot ${plot}`) +
        (fault === undefined ? '' : ` --fault ${fault}`),
      { cause },
    );
  }
}

function optionsFor(seed: number, plot: RunRequest['plot']): WorldOptions {
  if (plot === undefined) return drawOptions(seed);
  return plot === 'none' ? drawLife(seed) : withPlot(drawLife(seed), plot);
}

/** Whether the world has what the fault needs to show. */
export function offers(options: WorldOptions, fault: FaultName): boolean {
  if (options.driver) return false;
  switch (needsOf(fault)) {
    case 'membership-changes':
      return options.faults.membership > 0;
    case undefined:
      return true;
  }
}

/** The first world from `firstSeed` on in which the fault is noticed. */
export async function huntFault(
  fault: FaultName,
  firstSeed: number,
  isTimeUp: () => boolean,
): Promise<{ seed: number; plot?: PlotName; worlds: number; finding: string } | undefined> {
  const plot = plotThatShows(fault);
  let worlds = 0;
  for (let seed = firstSeed; !isTimeUp(); seed++) {
    if (plot === undefined && !offers(drawOptions(seed), fault)) continue;
    worlds++;
    try {
      await runWorld({ seed, fault, ...(plot === undefined ? {} : { plot }) });
    } catch (error) {
      const { cause } = error as Error;
      return {
        seed,
        ...(plot === undefined ? {} : { plot }),
        worlds,
        finding: cause instanceof Error ? cause.message : String(cause),
      };
    }
  }
  return undefined;
}
