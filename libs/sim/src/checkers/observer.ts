/** What checkers are shown, as it happens. Whatever they find goes to `report`; the first finding ends the run. */
import type { Command, CoreStatus, Entry, MemberId, Recovered, SnapshotMeta } from '#libs/raft';

/** A running member, as far as checkers may look into it. */
export interface Observed {
  id: MemberId;
  /** Counts the starts of this member. */
  incarnation: number;
  status(): CoreStatus;
  termAt(index: number): number | undefined;
}

export interface Observer {
  /** Read from disk; nothing has been done with it yet. */
  recovered?(member: Observed, recovered: Recovered): void;
  /** After each input, before its commands are carried out. */
  stepped?(member: Observed, commands: readonly Command[]): void;
  /** Every write through this sequence is on the member's disk. */
  persisted?(member: Observed, sequence: number): void;
  /** `hash` stands for all that the state machine was ever fed. */
  applied?(member: Observed, entry: Entry, hash: number): void;
  restored?(member: Observed, snapshot: SnapshotMeta, hash: number): void;
}

export type Report = (finding: string) => void;
