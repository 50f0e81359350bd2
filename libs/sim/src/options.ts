/** What a world is like: all of it drawn from the seed, so that the seed alone brings a run back. */
import type { NetworkOptions } from './network.js';
import { type PlotName, plotNames, plots } from './plots/index.js';
import { SeededRandom } from './random.js';

/** What is done to a world, with how often it is chosen relative to the others; 0 is never. */
export interface FaultWeights {
  crash: number;
  /** The machine goes down in the middle of a disk operation that is still to come. */
  crashInWrite: number;
  /** Several members lose power at once. */
  powerCut: number;
  /** Right after the next message of some kind has left: what it promised must hold all the same. */
  crashAfterSend: number;
  partition: number;
  /** Whoever is elected next is cut off at once. */
  cutNewLeader: number;
  /** One direction of one link. */
  cutOneWay: number;
  /** The process stands still for a while (SIGSTOP, a long collection, a busy host). */
  pause: number;
  clockJump: number;
  diskStall: number;
  diskFull: number;
  syncError: number;
  /** A bit of what was synced flips. */
  decay: number;
  membership: number;
  transfer: number;
}

export interface RaftChoices {
  electionTicks: number;
  heartbeatTicks: number;
  appendEntriesMax: number;
  appendBytesMax: number;
  inflightAppendsMax: number;
  inflightBytesMax: number;
  uncommittedBytesMax: number;
  applyingBytesMax: number;
  readLease?: { clockDriftMax: number };
}

export interface WorldOptions {
  seed: number;
  members: number;
  /** The real driver runs in every member; else the core and the storage do, in a smaller one that shows them bare. */
  driver: boolean;
  /** How long things go wrong; then everything is healed. */
  simulatedMs: number;
  clients: number;
  keys: number;
  thinkMsMax: number;
  /** Of what clients ask; the rest are writes. */
  readShare: number;
  tickMs: number;
  clockDriftMax: number;
  network: NetworkOptions;
  diskLatencyMs: readonly [least: number, most: number];
  applyDelayMs: number;
  snapshotEntries: number;
  keptEntries: number;
  segmentBytesMax: number;
  raft: RaftChoices;
  /** Mean time between two faults. */
  faultEveryMs: number;
  /** How long faults last, relative to the usual. */
  faultLength: number;
  faults: FaultWeights;
  /** How often an end of a connection that breaks is told so. Else it has to find out. */
  linkNewsChance: number;
  /** Played first. */
  plot?: PlotName;
}

const usualFaults: FaultWeights = {
  crash: 4,
  crashInWrite: 4,
  powerCut: 1,
  crashAfterSend: 4,
  partition: 4,
  cutNewLeader: 2,
  cutOneWay: 3,
  pause: 2,
  clockJump: 1,
  diskStall: 2,
  diskFull: 1,
  syncError: 1,
  decay: 1,
  membership: 6,
  transfer: 2,
};

/** Elections are no slower than the network asks for: the more of them, the more there is to go wrong. */
const paces = [
  { latencyMs: [0.2, 2], electionTicks: [2, 8] },
  { latencyMs: [1, 20], electionTicks: [3, 10] },
  { latencyMs: [5, 120], electionTicks: [8, 12] },
] as const;

/** From storms, in which hardly any leader lives, to long quiet times. */
const rhythms = [
  { faultEveryMs: 100, faultLength: 0.1 },
  { faultEveryMs: 200, faultLength: 0.2 },
  { faultEveryMs: 400, faultLength: 0.4 },
  { faultEveryMs: 600, faultLength: 1 },
  { faultEveryMs: 2500, faultLength: 1 },
] as const;

/** Shares of the worlds that begin with a plot, and of those whose group begins small. */
const plotShare = 0.12;
const smallShare = 0.1;

/** Drawn apart from the rest, so that what was found in a world can still be found in its life alone. */
export function drawOptions(seed: number): WorldOptions {
  const random = new SeededRandom(seed ^ 0x9107);
  const options = { ...drawLife(seed), linkNewsChance: random.pick([0, 0.5, 1]) };
  const dice = random.fraction();
  if (dice < smallShare) return { ...options, members: random.pick([1, 2]) };
  if (options.driver || dice > smallShare + plotShare) return options;
  return withPlot(options, random.pick(plotNames));
}

export function withPlot(options: WorldOptions, plot: PlotName): WorldOptions {
  return { ...plots[plot].adapt(options), driver: false, plot };
}

/** The life of every day. */
export function drawLife(seed: number): WorldOptions {
  const random = new SeededRandom(seed);
  const between = (least: number, most: number): number => least + random.below(most - least + 1);
  const clockDriftMax = random.pick([0, 0.02, 0.05]);
  const withLease = random.chance(0.4);
  const faults = { ...usualFaults };
  // Leaving some out lets the others show what they can do together.
  for (const name of Object.keys(faults) as (keyof FaultWeights)[]) if (random.chance(0.3)) faults[name] = 0;
  // A lease stands on clocks that run on: who jumps must not have one.
  if (withLease) faults.clockJump = 0;
  const pace = random.pick(paces);
  return {
    seed,
    members: random.pick([3, 3, 4, 5, 5, 6, 7]),
    driver: random.chance(0.3),
    simulatedMs: between(10, 40) * 1000,
    clients: withLease ? between(4, 7) : between(2, 5),
    keys: between(1, 3),
    readShare: random.pick([0.4, 0.7]),
    thinkMsMax: random.pick([100, 300, 1000]),
    tickMs: 100,
    clockDriftMax,
    network: {
      latencyMs: pace.latencyMs,
      dropChance: random.pick([0, 0, 0.01, 0.05, 0.15]),
      duplicateChance: random.pick([0, 0.01, 0.1]),
      detourChance: random.pick([0, 0.02, 0.2]),
      detourMs: between(50, 1500),
    },
    diskLatencyMs: random.pick([
      [0.1, 1],
      [1, 15],
      [2, 60],
    ] as const),
    applyDelayMs: random.pick([0, 0, 5, 60, 1500]),
    snapshotEntries: random.pick([8, 30, 100, 1000]),
    keptEntries: random.pick([0, 5, 50]),
    segmentBytesMax: random.pick([600, 4096, 65_536]),
    raft: {
      electionTicks: between(pace.electionTicks[0], pace.electionTicks[1]),
      heartbeatTicks: 1,
      appendEntriesMax: random.pick([1, 4, 64]),
      appendBytesMax: random.pick([150, 1000, 100_000]),
      inflightAppendsMax: random.pick([1, 3, 32]),
      inflightBytesMax: random.pick([400, 10_000, 1_000_000]),
      uncommittedBytesMax: random.pick([500, 5000, 1_000_000]),
      applyingBytesMax: random.pick([300, 5000, 1_000_000]),
      ...(withLease ? { readLease: { clockDriftMax: 0.1 } } : {}),
    },
    ...random.pick(rhythms),
    faults,
    linkNewsChance: 0,
  };
}
