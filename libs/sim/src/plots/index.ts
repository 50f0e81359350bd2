/** Every plot by its name. */
import type { FaultName } from '#libs/raft/testing';
import { figureEight, shorterLog, twoCandidates } from './elections.js';
import { amongLearners, lateChange, twoHalves } from './memberships.js';
import type { Plot } from './plot.js';
import {
  cutLeader,
  lateAnswer,
  leaseAndCut,
  leaseAndRestart,
  leaseAndTransfer,
  unknownCommit,
} from './reads.js';
import { lateRequest } from './replication.js';

export const plots = {
  'figure-eight': figureEight,
  'two-candidates': twoCandidates,
  'shorter-log': shorterLog,
  'late-request': lateRequest,
  'cut-leader': cutLeader,
  'late-answer': lateAnswer,
  'unknown-commit': unknownCommit,
  'lease-and-transfer': leaseAndTransfer,
  'lease-and-cut': leaseAndCut,
  'lease-and-restart': leaseAndRestart,
  'two-halves': twoHalves,
  'among-learners': amongLearners,
  'late-change': lateChange,
} as const satisfies Record<string, Plot>;

export type PlotName = keyof typeof plots;

export const plotNames = Object.keys(plots) as PlotName[];

/** The plot in which this fault shows; others are shown by chance, in a few worlds. */
export function plotThatShows(fault: FaultName): PlotName | undefined {
  return plotNames.find((name) => (plots[name] as Plot).shows.includes(fault));
}
