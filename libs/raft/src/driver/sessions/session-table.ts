/**
 * Which proposals have been applied: the part of the replicated state that makes a repeated proposal harmless
 * (Ongaro's thesis, 6.3). Every member keeps the same table, since it changes by applied entries alone.
 *
 * A session is one run of one member's process. Its proposals may be applied out of order, so the table remembers
 * each one above the mark through which the proposer waits for nothing. The table is bounded: the session that was
 * used longest ago goes first, and from then on a proposal of an unknown session that began before the last use of
 * any session that went is refused: it might have been applied already.
 */
import type { SessionHeader } from './envelope.js';

/** The same on every member, or their tables would differ. */
export const sessionsMax = 1024;

/** `expired`: the session is not known any more; nothing was done. */
export type Verdict = 'first' | 'repeated' | 'expired';

interface Session {
  bornAt: number;
  settled: number;
  /** Sequences above `settled` that were applied. */
  applied: Set<number>;
  /** Index of the newest entry that named the session. */
  usedAt: number;
}

type Stored = [id: number, bornAt: number, settled: number, usedAt: number, applied: number[]];

export class SessionTable {
  private readonly sessions = new Map<number, Session>();
  /** No session that was used at or before this index is sure to be here. */
  private evictedThrough = 0;

  /** Takes note of the proposal in the entry at `index`. Only a `first` one is to be applied. */
  take(header: SessionHeader, index: number): Verdict {
    const session = this.find(header) ?? this.begin(header);
    if (session === undefined) return 'expired';
    session.usedAt = index;
    this.settle(session, header.settled);
    if (header.sequence <= session.settled || session.applied.has(header.sequence)) return 'repeated';
    session.applied.add(header.sequence);
    this.evict();
    return 'first';
  }

  /** What became of a proposal, as far as the entries that were applied tell. */
  outcomeOf(header: Pick<SessionHeader, 'session' | 'bornAt' | 'sequence'>): 'applied' | 'open' | 'unknown' {
    const session = this.find(header);
    if (session === undefined) return header.bornAt < this.evictedThrough ? 'unknown' : 'open';
    if (session.applied.has(header.sequence)) return 'applied';
    return header.sequence <= session.settled ? 'unknown' : 'open';
  }

  private find({ session: id, bornAt }: Pick<SessionHeader, 'session' | 'bornAt'>): Session | undefined {
    const session = this.sessions.get(id);
    return session?.bornAt === bornAt ? session : undefined;
  }

  private begin({ session: id, bornAt }: SessionHeader): Session | undefined {
    if (bornAt < this.evictedThrough || this.sessions.has(id)) return undefined;
    const session: Session = { bornAt, settled: 0, applied: new Set(), usedAt: 0 };
    this.sessions.set(id, session);
    return session;
  }

  private settle(session: Session, settled: number): void {
    if (settled <= session.settled) return;
    if (settled - session.settled > session.applied.size) {
      for (const sequence of session.applied) if (sequence <= settled) session.applied.delete(sequence);
    } else {
      for (let sequence = session.settled + 1; sequence <= settled; sequence++) {
        session.applied.delete(sequence);
      }
    }
    session.settled = settled;
  }

  private evict(): void {
    while (this.sessions.size > sessionsMax) {
      let oldest: [number, Session] | undefined;
      for (const each of this.sessions) {
        if (oldest === undefined || each[1].usedAt < oldest[1].usedAt) oldest = each;
      }
      if (oldest === undefined) return;
      this.sessions.delete(oldest[0]);
      this.evictedThrough = Math.max(this.evictedThrough, oldest[1].usedAt);
    }
  }

  encode(): Uint8Array {
    const sessions: Stored[] = [...this.sessions]
      .sort(([a], [b]) => a - b)
      .map(([id, { bornAt, settled, usedAt, applied }]) => [
        id,
        bornAt,
        settled,
        usedAt,
        [...applied].sort((a, b) => a - b),
      ]);
    return Buffer.from(JSON.stringify({ evictedThrough: this.evictedThrough, sessions }), 'utf8');
  }

  static decode(bytes: Uint8Array): SessionTable {
    const stored = JSON.parse(Buffer.from(bytes).toString('utf8')) as {
      evictedThrough: number;
      sessions: Stored[];
    };
    const table = new SessionTable();
    table.evictedThrough = stored.evictedThrough;
    for (const [id, bornAt, settled, usedAt, applied] of stored.sessions) {
      table.sessions.set(id, { bornAt, settled, usedAt, applied: new Set(applied) });
    }
    return table;
  }
}
