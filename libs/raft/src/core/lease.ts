/**
 * The leader's lease (thesis, 6.4.1): a follower that hears a leader helps nobody else for `electionTicks` of its own
 * clock. Once a quorum has answered a round of heartbeats, nobody else can be elected before that time is over,
 * counted from when the round was sent, and reads need no round of their own.
 */
import type { CoreState, Leadership } from './state.js';

export function hasLease(state: CoreState, leadership: Leadership): boolean {
  const { config, rules } = state;
  if (config.readLease === undefined) return false;
  if (!rules.keepsLease(leadership.hasAskedForTakeover)) return false;
  const ticks = rules.leaseTicks(config.electionTicks, config.readLease.clockDriftMax);
  return state.ticks < leadership.leaseFrom + ticks;
}

export function noteConfirmedRound(leadership: Leadership, confirmed: number): void {
  if (confirmed <= leadership.confirmedRound) return;
  leadership.confirmedRound = confirmed;
  let done = 0;
  for (const { round, tick } of leadership.sentRounds) {
    if (round > confirmed) break;
    leadership.leaseFrom = tick;
    done++;
  }
  leadership.sentRounds.splice(0, done);
}
