/**
 * A client does one thing after the other on a few keys, through whichever member it picks, and writes down what it
 * asked and what it was told. What gets no answer is asked again, elsewhere, under the same number; in front of real
 * drivers only reads are, since a driver has to see by itself that what it was asked once is done at most once.
 */
import type { KeyValueInput } from './linearizability/key-value.js';
import type { ClientOutcome, Packet } from './packets.js';
import type { World } from './world.js';

const attemptsMax = 12;

interface Asking {
  historyId: number;
  input: KeyValueInput;
  attempts: number;
}

export class Client {
  answered = 0;
  private sequence = 0;
  private asking: Asking | undefined;
  private attemptId = 0;
  private readonly planned: { input: KeyValueInput; through?: string }[] = [];
  private isDrawing = true;
  private writes = 0;

  constructor(
    private readonly world: World,
    readonly id: string,
  ) {
    world.network.attach(id, (_, packet) => this.receive(packet));
  }

  get isBusy(): boolean {
    return this.asking !== undefined || this.planned.length > 0;
  }

  start(): void {
    this.thinkThenAsk();
  }

  /** What is being asked is asked to its end. */
  stopDrawing(): void {
    this.isDrawing = false;
  }

  /** In this order, through this member first. */
  plan(input: KeyValueInput, through?: string): void {
    this.planned.push({ input, ...(through === undefined ? {} : { through }) });
    if (this.asking === undefined) this.askNext();
  }

  private thinkThenAsk(): void {
    this.world.scheduler.after(
      this.world.random.below(this.isDrawing ? this.world.options.thinkMsMax : 10),
      () => this.askNext(),
    );
  }

  private askNext(): void {
    if (this.asking !== undefined) return;
    const next = this.planned.shift() ?? (this.isDrawing ? { input: this.draw() } : undefined);
    if (next === undefined) return;
    if (next.input.op !== 'get') this.sequence++;
    this.asking = { historyId: this.world.history.call(this.id, next.input), input: next.input, attempts: 0 };
    this.attempt(next.through);
  }

  private attempt(through?: string): void {
    const { asking, world } = this;
    if (asking === undefined) return;
    if (asking.attempts++ >= attemptsMax) {
      return this.giveUp();
    }
    const id = ++this.attemptId;
    const to = through ?? world.random.pick(world.contacts());
    const request = { id, client: this.id, sequence: this.sequence, input: asking.input };
    world.send(this.id, to, { kind: 'request', request, hops: 0 });
    const isOnlyChance = world.options.driver && asking.input.op !== 'get';
    const patienceMs = (300 + world.random.below(1200)) * (isOnlyChance ? 8 : 1);
    world.scheduler.after(patienceMs, () => {
      if (this.attemptId !== id || this.asking !== asking) return;
      if (isOnlyChance) this.giveUp();
      else this.attempt();
    });
  }

  /** Nobody knows what became of it. */
  private giveUp(): void {
    this.asking = undefined;
    this.thinkThenAsk();
  }

  private receive(packet: Packet): void {
    if (packet.kind !== 'response' || this.asking === undefined || packet.id !== this.attemptId) return;
    this.attemptId++;
    this.answer(this.asking, packet.outcome);
  }

  private answer(asking: Asking, outcome: ClientOutcome): void {
    const { world } = this;
    if (outcome.kind === 'unknown') return this.giveUp();
    if (outcome.kind === 'again') {
      world.scheduler.after(20 + world.random.below(200), () => {
        if (this.asking === asking) this.attempt();
      });
      return;
    }
    world.history.answer(asking.historyId, outcome.output);
    this.answered++;
    this.asking = undefined;
    this.thinkThenAsk();
  }

  private draw(): KeyValueInput {
    const { random, options } = this.world;
    const key = `k${random.below(options.keys) + 1}`;
    const value = `${this.id}.${++this.writes} `;
    const dice = random.fraction();
    const { readShare } = this.world.options;
    if (dice < readShare) return { op: 'get', key };
    const kind = random.fraction();
    if (kind < 0.45) return { op: 'append', key, value };
    if (kind < 0.75) return { op: 'put', key, value };
    return { op: 'cas', key, expected: this.world.lastSeen(key), value };
  }
}
