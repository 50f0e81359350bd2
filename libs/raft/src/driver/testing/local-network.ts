/** A network inside the process: messages as bytes, lost, doubled or held up as a test wishes. */
import type { MemberId } from '../../core/types.js';
import type { OutgoingSnapshot, PeerMessage, RaftTransport, TransportReceiver } from '../../port.js';
import { decodeMessages, encodeMessage } from '../../transport/wire.js';

export class LocalNetwork {
  private readonly receivers = new Map<MemberId, TransportReceiver>();
  private readonly isolated = new Set<MemberId>();
  /** False loses the message. */
  passes: (from: MemberId, to: MemberId, message: PeerMessage) => boolean = () => true;
  /** How often a message arrives. */
  copies: () => number = () => 1;
  /** Before a chunk of a snapshot goes out; a throw breaks the stream. */
  beforeChunk: (to: MemberId, number: number) => void = () => undefined;

  isolate(member: MemberId): void {
    this.isolated.add(member);
  }

  heal(): void {
    this.isolated.clear();
    this.passes = () => true;
    this.copies = () => 1;
  }

  transportOf(self: MemberId): RaftTransport {
    return {
      send: (to, message) => this.send(self, to, message),
      sendSnapshot: (to, snapshot) => this.sendSnapshot(self, to, snapshot),
      isReachable: (peer) => this.isOpen(self, peer),
      listen: (receiver) => {
        this.receivers.set(self, receiver);
        return () => void this.receivers.delete(self);
      },
    };
  }

  private isOpen(from: MemberId, to: MemberId): boolean {
    return this.receivers.has(to) && !this.isolated.has(from) && !this.isolated.has(to);
  }

  private send(from: MemberId, to: MemberId, message: PeerMessage): void {
    if (!this.isOpen(from, to) || !this.passes(from, to, message)) return;
    const bytes = Buffer.concat(encodeMessage(message));
    for (let copy = 0; copy < this.copies(); copy++) {
      setImmediate(() => {
        for (const arrived of decodeMessages(Buffer.from(bytes))) {
          this.receivers.get(to)?.message(from, arrived);
        }
      });
    }
  }

  private async sendSnapshot(from: MemberId, to: MemberId, snapshot: OutgoingSnapshot): Promise<void> {
    const intake = this.receivers.get(to)?.snapshots;
    if (intake === undefined || !this.isOpen(from, to)) throw new Error('no way there');
    let number = await intake.begin(from, snapshot);
    for (;;) {
      const chunk = await snapshot.read(number);
      if (chunk === undefined) break;
      this.beforeChunk(to, number);
      if (!this.isOpen(from, to)) throw new Error('the way is cut');
      number = await intake.chunk(from, number, Buffer.from(chunk));
    }
    await intake.end(from);
  }
}
