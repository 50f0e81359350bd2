/**
 * From a history that cannot be explained to the few operations that cannot. Only moves that cannot make up an
 * offence are used: cutting the history short, leaving out observations, and letting a write take effect whenever it
 * likes after its call. So what is left offends in the whole history too.
 */
import type { Operation, SequentialModel } from './operation.js';
import { searchOrder } from './search.js';

export interface Offence<Input, Output> {
  /** In the order of their calls: no order of these gives these answers, whatever the free ones did. */
  operations: Operation<Input, Output>[];
  /** Writes whose moment does not matter for the offence. */
  free: Operation<Input, Output>[];
}

export function shrink<State, Input, Output>(
  model: SequentialModel<State, Input, Output>,
  offending: readonly Operation<Input, Output>[],
  stepsMax: number,
): Offence<Input, Output> {
  const offends = (operations: readonly Operation<Input, Output>[]): boolean =>
    searchOrder(model, operations, stepsMax) === 'violation';
  let left = shortestPrefix(offending, offends);
  left = withoutObservations(model, left, offends);
  left = withFreeWrites(left, offends);
  const byCall = left.toSorted((a, b) => a.invokedAt - b.invokedAt);
  return {
    operations: byCall.filter((operation) => operation.answer !== undefined),
    free: byCall.filter((operation) => operation.answer === undefined),
  };
}

type Offends<Input, Output> = (operations: readonly Operation<Input, Output>[]) => boolean;

/** A prefix of a good history is good, so the first offending answer can be found by halving. */
function shortestPrefix<Input, Output>(
  operations: readonly Operation<Input, Output>[],
  offends: Offends<Input, Output>,
): Operation<Input, Output>[] {
  const answers = operations.flatMap(({ answer }) => (answer === undefined ? [] : [answer.at]));
  answers.sort((a, b) => a - b);
  const prefix = (through: number): Operation<Input, Output>[] =>
    operations
      .filter(({ invokedAt }) => invokedAt <= through)
      .map((operation) =>
        operation.answer !== undefined && operation.answer.at > through ? unanswered(operation) : operation,
      );
  let good = -1;
  let bad = answers.length - 1;
  while (bad - good > 1) {
    const middle = Math.floor((good + bad) / 2);
    if (offends(prefix(answers[middle] ?? 0))) bad = middle;
    else good = middle;
  }
  const shortest = prefix(answers[bad] ?? 0);
  return offends(shortest) ? shortest : [...operations];
}

function withoutObservations<State, Input, Output>(
  model: SequentialModel<State, Input, Output>,
  operations: Operation<Input, Output>[],
  offends: Offends<Input, Output>,
): Operation<Input, Output>[] {
  const isObservation = ({ input, answer }: Operation<Input, Output>): boolean =>
    model.isObservation(input, answer?.output);
  return reduce(operations, isObservation, () => undefined, offends);
}

function withFreeWrites<Input, Output>(
  operations: Operation<Input, Output>[],
  offends: Offends<Input, Output>,
): Operation<Input, Output>[] {
  return reduce(operations, ({ answer }) => answer !== undefined, unanswered, offends);
}

/** Weakens as many operations as it can while the offence stays: first many at once, then one by one. */
function reduce<Input, Output>(
  operations: Operation<Input, Output>[],
  isCandidate: (operation: Operation<Input, Output>) => boolean,
  weaken: (operation: Operation<Input, Output>) => Operation<Input, Output> | undefined,
  offends: Offends<Input, Output>,
): Operation<Input, Output>[] {
  let left = operations;
  let untried = operations.filter(isCandidate);
  for (let size = Math.ceil(untried.length / 2); size >= 1; size = Math.floor(size / 2)) {
    const kept: Operation<Input, Output>[] = [];
    for (let at = 0; at < untried.length; at += size) {
      const chunk = untried.slice(at, at + size);
      const weaker = left.flatMap((operation) => {
        if (!chunk.includes(operation)) return [operation];
        const weakened = weaken(operation);
        return weakened === undefined ? [] : [weakened];
      });
      if (offends(weaker)) left = weaker;
      else kept.push(...chunk);
    }
    untried = kept;
  }
  return left;
}

function unanswered<Input, Output>(operation: Operation<Input, Output>): Operation<Input, Output> {
  const { client, input, invokedAt } = operation;
  return { client, input, invokedAt };
}
