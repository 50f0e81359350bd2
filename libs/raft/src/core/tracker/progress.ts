/** What a leader knows about another member's log. */
import type { ProgressState } from '../types.js';

export class Progress {
  state: ProgressState = 'probe';
  /** Highest index known to be on the member's disk. Only grows within a term. */
  match = 0;
  /** Invariant: match < next. */
  next: number;
  /** While probing: a request is out. Cleared by an answer, or by a heartbeat's answer since requests get lost. */
  awaitingAnswer = false;
  /** Index of the snapshot on its way. */
  pendingSnapshot = 0;
  /** Heard from since the last quorum check. */
  recentlyActive = false;

  constructor(next: number) {
    this.next = next;
  }

  becomeProbe(): void {
    // A member that has just taken a snapshot holds at least that.
    this.next = Math.max(this.match, this.state === 'snapshot' ? this.pendingSnapshot : 0) + 1;
    this.state = 'probe';
    this.awaitingAnswer = false;
    this.pendingSnapshot = 0;
  }

  becomeReplicate(): void {
    this.state = 'replicate';
    this.next = this.match + 1;
    this.awaitingAnswer = false;
    this.pendingSnapshot = 0;
  }

  becomeSnapshot(index: number): void {
    this.state = 'snapshot';
    this.pendingSnapshot = index;
    this.awaitingAnswer = false;
  }

  /** True when the acknowledgement is news. */
  accept(match: number): boolean {
    const isNews = match > this.match;
    if (isNews) this.match = match;
    this.next = Math.max(this.next, match + 1);
    return isNews;
  }

  /** False for an answer to a request that newer answers have overtaken. */
  reject(rejectedPrev: number, retryAt: number): boolean {
    if (this.state === 'replicate') {
      if (rejectedPrev <= this.match) return false;
      this.becomeProbe();
      return true;
    }
    if (this.next - 1 !== rejectedPrev) return false;
    this.next = Math.max(Math.min(rejectedPrev, retryAt), this.match + 1);
    this.awaitingAnswer = false;
    return true;
  }
}
