/**
 * Is there one order of the operations, each taking effect at a moment between its call and its answer, in which a
 * sequential object would have given these answers? The search of Wing and Gong (1993) with Lowe's memory of where
 * it has been (2017), as in Porcupine. NP-complete in general, quick for histories of a working system, and bounded.
 */
import type { Operation, SequentialModel } from './operation.js';

export type SearchResult = 'linearizable' | 'violation' | 'limit';

interface Frame<State> {
  state: State;
  /** Operations that may come next, in the order to try. */
  candidates: number[];
  next: number;
  /** The operation that led here; -1 at the root. */
  by: number;
  /** Everything before these in the orders of calls and of answers is placed, here and in all that follows. */
  firstCall: number;
  firstAnswer: number;
}

/** `stepsMax` limits the model steps tried; beyond it the answer is `limit`. */
export function searchOrder<State, Input, Output>(
  model: SequentialModel<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
  stepsMax: number,
): SearchResult {
  return new Search(model, operations, stepsMax).run();
}

class Search<State, Input, Output> {
  private readonly operations: readonly Operation<Input, Output>[];
  /** Answered operations by the moment of their call, and of their answer. */
  private readonly byCall: number[];
  private readonly byAnswer: number[];
  /** By the moment of their call; without an answer these may stay out of the order altogether. */
  private readonly unanswered: number[];
  private readonly placed: Uint32Array;
  private placedAnswered = 0;
  private placedHash = 0;
  private readonly visited = new Map<string, Map<number, Uint32Array[]>>();
  private readonly frames: Frame<State>[] = [];
  private readonly couldExplain: (change: { before: State; after: State }) => boolean;
  private stepsLeft: number;

  constructor(
    private readonly model: SequentialModel<State, Input, Output>,
    operations: readonly Operation<Input, Output>[],
    stepsMax: number,
  ) {
    // A lost observation binds nobody.
    this.operations = operations.filter(
      ({ input, answer }) => answer !== undefined || !model.isObservation(input, undefined),
    );
    const all = this.operations.map((_, i) => i).sort((a, b) => this.calledAt(a) - this.calledAt(b));
    this.byCall = all.filter((i) => this.operations[i]?.answer !== undefined);
    this.unanswered = all.filter((i) => this.operations[i]?.answer === undefined);
    this.byAnswer = this.byCall.toSorted((a, b) => this.answeredAt(a) - this.answeredAt(b));
    this.placed = new Uint32Array((this.operations.length >>> 5) + 1);
    this.couldExplain = model.relevance(this.operations);
    this.stepsLeft = stepsMax;
  }

  run(): SearchResult {
    this.enter(this.model.initial, -1);
    while (this.placedAnswered < this.byCall.length) {
      const frame = this.frames.at(-1);
      if (frame === undefined) return 'violation';
      if (this.stepsLeft <= 0) return 'limit';
      const candidate = frame.candidates[frame.next++];
      if (candidate === undefined) this.leave();
      else this.attempt(frame.state, candidate);
    }
    return 'linearizable';
  }

  private attempt(state: State, candidate: number): void {
    const operation = this.operations[candidate] as Operation<Input, Output>;
    this.stepsLeft--;
    const after = this.model.step(state, operation.input, operation.answer?.output);
    if (after === undefined) return;
    if (operation.answer === undefined && !this.couldExplain({ before: state, after })) return;
    this.toggle(candidate, 1);
    if (this.isNew(after)) this.enter(after, candidate);
    else this.toggle(candidate, -1);
  }

  private enter(state: State, by: number): void {
    let { firstCall, firstAnswer } = this.frames.at(-1) ?? { firstCall: 0, firstAnswer: 0 };
    firstCall = this.skipPlaced(this.byCall, firstCall);
    firstAnswer = this.skipPlaced(this.byAnswer, firstAnswer);
    const candidates = this.candidates(firstCall, firstAnswer);
    this.frames.push({ state, candidates, next: 0, by, firstCall, firstAnswer });
  }

  private skipPlaced(order: readonly number[], from: number): number {
    let at = from;
    while (at < order.length && this.isPlaced(order[at] as number)) at++;
    return at;
  }

  private leave(): void {
    const frame = this.frames.pop();
    if (frame !== undefined && frame.by >= 0) this.toggle(frame.by, -1);
  }

  /** Whatever was called before the earliest answer that is not accounted for yet. Answered ones are tried first. */
  private candidates(firstCall: number, firstAnswer: number): number[] {
    const earliest = this.byAnswer[firstAnswer];
    const before = earliest === undefined ? 0 : this.answeredAt(earliest);
    const found: number[] = [];
    const gather = (order: readonly number[], from: number): void => {
      for (let at = from; at < order.length; at++) {
        const i = order[at] as number;
        if (this.calledAt(i) > before) break;
        if (!this.isPlaced(i)) found.push(i);
      }
    };
    gather(this.byCall, firstCall);
    gather(this.unanswered, 0);
    return found;
  }

  private isPlaced(i: number): boolean {
    return (((this.placed[i >>> 5] ?? 0) >>> (i & 31)) & 1) === 1;
  }

  private toggle(i: number, by: 1 | -1): void {
    this.placed[i >>> 5] = (this.placed[i >>> 5] ?? 0) ^ (1 << (i & 31));
    this.placedHash ^= Math.imul(i + 1, 0x9e3779b1) ^ ((i + 1) << 15);
    if (this.operations[i]?.answer !== undefined) this.placedAnswered += by;
  }

  /** Lowe's memory: the same operations done, the same state reached. The hash only narrows, the bits decide. */
  private isNew(state: State): boolean {
    const key = this.model.stateKey(state);
    let bySet = this.visited.get(key);
    if (bySet === undefined) this.visited.set(key, (bySet = new Map()));
    const sets = bySet.get(this.placedHash);
    if (sets === undefined) {
      bySet.set(this.placedHash, [this.placed.slice()]);
      return true;
    }
    if (sets.some((set) => set.every((word, at) => word === this.placed[at]))) return false;
    sets.push(this.placed.slice());
    return true;
  }

  private calledAt(i: number): number {
    return this.operations[i]?.invokedAt ?? 0;
  }

  private answeredAt(i: number): number {
    return this.operations[i]?.answer?.at ?? Number.POSITIVE_INFINITY;
  }
}
