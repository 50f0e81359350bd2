/** What a leader knows about another member's log, and what it may send to it now. */
import type { ProgressState } from '../types.js';
import { Inflights } from './inflights.js';

export interface InflightLimits {
  inflightAppendsMax: number;
  inflightBytesMax: number;
}

export class Progress {
  state: ProgressState = 'probe';
  /** Highest index known to be on the member's disk. Only grows within a term. */
  match = 0;
  /** Invariant: match < next. */
  next: number;
  /** Nothing is sent until an answer, or the answer to a heartbeat since requests get lost. */
  isPaused = false;
  /** Index of the snapshot on its way, in the state `snapshot` only. */
  pendingSnapshot = 0;
  /** The timed heartbeat whose answer was last taken as a reason to find out what was lost. */
  probedRound = 0;
  /** The highest commit index sent to it. */
  sentCommit = 0;
  /** Heard from since the last quorum check. */
  recentlyActive = false;
  readonly inflights: Inflights;

  constructor(next: number, limits: InflightLimits) {
    this.next = next;
    this.inflights = new Inflights(limits.inflightAppendsMax, limits.inflightBytesMax);
  }

  get maySend(): boolean {
    return this.state !== 'snapshot' && !this.isPaused;
  }

  becomeProbe(): void {
    // A member that has just taken a snapshot holds at least that.
    this.next = Math.max(this.match, this.pendingSnapshot) + 1;
    this.enter('probe');
  }

  becomeReplicate(): void {
    this.next = this.match + 1;
    this.enter('replicate');
  }

  becomeSnapshot(index: number): void {
    this.enter('snapshot');
    this.pendingSnapshot = index;
  }

  private enter(state: ProgressState): void {
    this.state = state;
    this.isPaused = false;
    this.pendingSnapshot = 0;
    this.sentCommit = Math.min(this.sentCommit, this.match);
    this.inflights.clear();
  }

  /** Notes a request with `count` entries that goes out now. */
  sent(count: number, bytes: number, commit: number): void {
    this.sentCommit = Math.max(this.sentCommit, commit);
    if (this.state === 'probe') {
      // One request at a time, until an answer tells where the logs agree.
      this.isPaused = true;
      return;
    }
    if (count > 0) {
      this.next += count;
      this.inflights.add(this.next - 1, bytes);
    }
    // With a full window not even empty requests go: the next answer frees it, or a heartbeat's answer lets one pass.
    this.isPaused = this.inflights.isFull;
  }

  /** True when the acknowledgement is news. */
  accept(match: number): boolean {
    const isNews = match > this.match;
    if (isNews) {
      this.match = match;
      this.isPaused = false;
      this.inflights.widen();
    }
    this.next = Math.max(this.next, match + 1);
    this.inflights.freeThrough(match);
    return isNews;
  }

  /** False for an answer to a request that newer answers have overtaken. */
  reject(rejectedPrev: number, retryAt: number): boolean {
    switch (this.state) {
      case 'replicate':
        if (rejectedPrev <= this.match) return false;
        this.inflights.narrow();
        this.becomeProbe();
        return true;
      case 'probe':
        if (this.next - 1 !== rejectedPrev) return false;
        this.next = Math.max(Math.min(rejectedPrev, retryAt), this.match + 1);
        this.isPaused = false;
        return true;
      case 'snapshot':
        return false;
    }
  }

  /** The snapshot's stream has ended. Only the member's own answers tell what it really holds. */
  snapshotEnded(outcome: 'delivered' | 'failed'): void {
    if (this.state !== 'snapshot') return;
    if (outcome === 'failed') this.pendingSnapshot = 0;
    this.becomeProbe();
    // Its answer to the snapshot is on the way, or it is in trouble: the next heartbeat's answer tells.
    this.isPaused = true;
  }
}
