/**
 * The simulated network: messages are lost, doubled, late and so out of order. A direction between two ends can be
 * cut while the other one works.
 */
import type { SeededRandom } from './random.js';
import type { Scheduler } from './scheduler.js';

export interface NetworkOptions {
  latencyMs: readonly [least: number, most: number];
  dropChance: number;
  duplicateChance: number;
  /** Some messages take a detour and are overtaken. */
  detourChance: number;
  detourMs: number;
}

export class SimNetwork<Packet> {
  private readonly receivers = new Map<string, (from: string, packet: Packet) => void>();
  private readonly cuts = new Set<string>();
  /** Nothing is lost, doubled or sent on a detour any more. */
  isReliable = false;
  /** True for what somebody else carries, or lets vanish: a schedule that is made on purpose. */
  take: ((from: string, to: string, packet: Packet) => boolean) | undefined;

  constructor(
    private readonly scheduler: Scheduler,
    private readonly random: SeededRandom,
    private readonly options: NetworkOptions,
  ) {}

  attach(id: string, receive: (from: string, packet: Packet) => void): void {
    this.receivers.set(id, receive);
  }

  detach(id: string): void {
    this.receivers.delete(id);
  }

  cut(from: string, to: string): void {
    this.cuts.add(`${from} ${to}`);
  }

  mend(from: string, to: string): void {
    this.cuts.delete(`${from} ${to}`);
  }

  mendAll(): void {
    this.cuts.clear();
  }

  isCut(from: string, to: string): boolean {
    return this.cuts.has(`${from} ${to}`);
  }

  /** `once`: it may be lost, but is not doubled. */
  send(from: string, to: string, packet: Packet, { once } = { once: false }): void {
    const { random, options } = this;
    if (this.take?.(from, to, packet) === true) return;
    if (!this.isReliable && random.chance(options.dropChance)) return;
    this.deliverLater(from, to, packet);
    if (!once && !this.isReliable && random.chance(options.duplicateChance))
      this.deliverLater(from, to, packet);
  }

  /** What was taken goes its way after all. */
  pass(from: string, to: string, packet: Packet): void {
    this.deliverLater(from, to, packet);
  }

  /** How long the next message would take: for streams, which keep their order and lose nothing unless cut. */
  latencyMs(): number {
    const [least, most] = this.options.latencyMs;
    return least + this.random.fraction() * (most - least);
  }

  private deliverLater(from: string, to: string, packet: Packet): void {
    const { random, options } = this;
    const isDetour = !this.isReliable && random.chance(options.detourChance);
    const latencyMs = this.latencyMs() + (isDetour ? random.fraction() * options.detourMs : 0);
    this.scheduler.after(latencyMs, () => {
      // A cut swallows what is under way as well.
      if (!this.isCut(from, to)) this.receivers.get(to)?.(from, packet);
    });
  }
}
