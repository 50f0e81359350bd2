/** One run of a member's process, whatever drives the core in it. */
import type { CoreStatus, MemberId, Membership, MembershipChange, MembershipTransition } from '#libs/raft';
import type { KeyValueMachine } from './machine.js';
import type { Packet } from './packets.js';

/** Why a change or a transfer was not done, or 'done'. */
export type ChangeOutcome = string;

export interface MemberProcess {
  readonly id: MemberId;
  /** It ended or crashed: nothing it does counts any more. */
  readonly isOver: boolean;
  readonly isLeader: boolean;
  readonly machine: KeyValueMachine;
  /** As applied. */
  readonly membership: Membership;
  status(): CoreStatus;
  /** Rejects with what the storage says. */
  start(): Promise<void>;
  /** However it ended. */
  end(): void;
  receive(from: string, packet: Packet): void;
  /** The connection to this member broke. */
  unreachable(peer: MemberId): void;
  changeMembership(
    changes: readonly MembershipChange[],
    transition: MembershipTransition,
    done: (outcome: ChangeOutcome) => void,
  ): void;
  leaveJoint(done: (outcome: ChangeOutcome) => void): void;
  transfer(to: MemberId, done: (outcome: ChangeOutcome) => void): void;
}
