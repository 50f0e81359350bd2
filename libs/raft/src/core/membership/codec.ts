/** The data of a membership entry: JSON, small and rare, so that `raft inspect` and people can read it. */
import type { Membership, MembershipChange, MembershipTransition } from '../types.js';

export type MembershipEntry =
  /** Holds whatever was before: the first entry of a group, or of one that is forced to begin anew. */
  | { kind: 'establish'; membership: Membership }
  | { kind: 'change'; changes: readonly MembershipChange[]; transition: MembershipTransition }
  | { kind: 'leave-joint' };

export function encodeMembershipEntry(entry: MembershipEntry): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(entry));
}

/** Throws on bytes that no leader wrote: such an entry must not be skipped, or members would disagree. */
export function decodeMembershipEntry(data: Uint8Array): MembershipEntry {
  const value: unknown = JSON.parse(new TextDecoder().decode(data));
  if (!isMembershipEntry(value)) throw new Error('raft: a membership entry holds no change of membership');
  return value;
}

function isMembershipEntry(value: unknown): value is MembershipEntry {
  if (typeof value !== 'object' || value === null || !('kind' in value)) return false;
  switch (value.kind) {
    case 'establish':
      return 'membership' in value && typeof value.membership === 'object' && value.membership !== null;
    case 'change':
      return 'changes' in value && Array.isArray(value.changes) && 'transition' in value;
    case 'leave-joint':
      return true;
    default:
      return false;
  }
}
