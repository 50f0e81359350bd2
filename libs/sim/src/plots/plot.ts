/** A schedule made on purpose, for what chance brings about too rarely. */
import type { FaultName } from '#libs/raft/testing';
import type { RaftChoices, WorldOptions } from '../options.js';
import type { Script, Stage } from './stage.js';

export interface Plot {
  /** What it comes to. */
  story: string;
  /** Cores that are wrong in these ways break a promise in it. */
  shows: readonly FaultName[];
  /** What it needs of a world that was drawn. */
  adapt(options: WorldOptions): WorldOptions;
  play(stage: Stage): Script;
}

/** Such a group elects sooner, and waits for a round with every read. */
export function withoutLease(raft: RaftChoices): RaftChoices {
  const { readLease: _, ...rest } = raft;
  return rest;
}
