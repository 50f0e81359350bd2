/**
 * What one member keeps for another: its address, and at most one stream that stands. Both may dial, since either
 * may be the only one who knows the other's address; the rule below settles which of two streams stays, equally on
 * both ends.
 */
import { EnxameError } from '#libs/model';
import type { raft } from '#libs/rpc';
import type { MemberId } from '../core/types.js';
import type { PeerMessage } from '../port.js';
import type { PeerStream } from './peer-stream.js';

export interface LinkLimits {
  /** Waiting time after the first failed dial; it doubles up to the maximum. Each is drawn from half to all of it. */
  redialMsMin: number;
  redialMsMax: number;
  /** The member with the higher id lets the other one dial first. */
  politeMs: number;
}

/** Streams that were opened within this time of each other may have been opened at once from both ends. */
const simultaneousMs = 2_000;

export interface LinkHost {
  self: MemberId;
  limits: LinkLimits;
  random(): number;
  nowMs(): number;
  /** Opens a stream; `established` or `failed` of the link will be called. Undefined without credentials. */
  dial(link: PeerLink, address: string): PeerStream | undefined;
  unreachable(peer: MemberId): void;
  log(message: string): void;
}

interface Standing {
  stream: PeerStream;
  incarnation: string;
  sinceMs: number;
}

export class PeerLink {
  private standing: Standing | undefined;
  private dialing: PeerStream | undefined;
  private retryTimer: NodeJS.Timeout | undefined;
  private failures = 0;
  private lastWords: string | undefined;
  private isClosed = false;
  /** What the manager's store says; news only when it changes, since the peer itself may know better. */
  private toldAddress: string | undefined;
  address: string | undefined;

  constructor(
    readonly peer: MemberId,
    private readonly host: LinkHost,
  ) {}

  get isStanding(): boolean {
    return this.standing !== undefined;
  }

  /** False when nobody has told of this peer: it came by itself. */
  get isKnown(): boolean {
    return this.toldAddress !== undefined;
  }

  told(address: string): void {
    if (address === this.toldAddress) return;
    const isFirst = this.toldAddress === undefined;
    this.toldAddress = address;
    this.address = address;
    if (isFirst && this.isStanding) return;
    const { self, limits } = this.host;
    this.dialAfter(isFirst && self > this.peer ? limits.politeMs : 0);
  }

  send(message: PeerMessage): boolean {
    this.standing?.stream.send(message);
    return this.isStanding;
  }

  /** A stream on which both hellos have passed. */
  established(stream: PeerStream, hello: raft.Hello): void {
    if (stream === this.dialing) this.dialing = undefined;
    if (this.isClosed) return stream.end();
    this.failures = 0;
    this.lastWords = undefined;
    if (hello.address !== '') this.address = hello.address;
    const fresh: Standing = { stream, incarnation: hello.incarnation, sinceMs: this.host.nowMs() };
    const { standing } = this;
    if (standing !== undefined && !this.replaces(fresh, standing)) return stream.retire();
    this.standing = fresh;
    standing?.stream.retire();
    // A dial that is under way is left to end by the rule: the other side may be taking it already, and if both ends
    // took theirs back, none would be left.
    clearTimeout(this.retryTimer);
    this.retryTimer = undefined;
  }

  private replaces(fresh: Standing, standing: Standing): boolean {
    if (fresh.stream.opener === standing.stream.opener) return true;
    // The peer's process has started again: what stood before is dead, whether this end has noticed or not.
    if (fresh.incarnation !== standing.incarnation) return true;
    // A peer dials only without a stream. So either both dialed at once, or this end missed the end of the old one.
    if (fresh.sinceMs - standing.sinceMs > simultaneousMs) return true;
    const preferred = this.host.self < this.peer ? 'self' : 'peer';
    return fresh.stream.opener === preferred;
  }

  ended(stream: PeerStream, error: EnxameError): void {
    if (stream === this.standing?.stream) {
      this.standing = undefined;
      this.host.unreachable(this.peer);
    } else if (stream === this.dialing) {
      this.dialing = undefined;
      // Not needed any more: the peer came by itself.
      if (this.isStanding) return;
      this.failures++;
    } else return;
    this.say(error.message);
    if (!this.isClosed && this.dialing === undefined) this.dialAfter(this.backoffMs());
  }

  /** Opens a stream with the present credentials beside the one that stands, which it will replace. */
  renew(): void {
    if (this.standing === undefined || this.standing.stream.opener === 'self') this.dialAfter(0);
  }

  close(): void {
    this.isClosed = true;
    this.stopDialing();
    this.standing?.stream.end();
  }

  private stopDialing(): void {
    clearTimeout(this.retryTimer);
    this.retryTimer = undefined;
    const { dialing } = this;
    this.dialing = undefined;
    dialing?.end();
  }

  private dialAfter(delayMs: number): void {
    this.stopDialing();
    this.retryTimer = setTimeout(() => {
      this.retryTimer = undefined;
      if (this.address !== undefined) this.dialing = this.host.dial(this, this.address);
    }, delayMs);
  }

  private backoffMs(): number {
    const { redialMsMin, redialMsMax } = this.host.limits;
    const fullMs = Math.min(redialMsMax, redialMsMin * 2 ** Math.min(this.failures, 16));
    return fullMs * (0.5 + this.host.random() / 2);
  }

  /** A peer that stays away is told of once, not at every try. */
  private say(words: string): void {
    if (words === this.lastWords) return;
    this.lastWords = words;
    this.host.log(`raft member ${this.peer} at ${this.address ?? 'unknown'}: ${words}`);
  }
}
