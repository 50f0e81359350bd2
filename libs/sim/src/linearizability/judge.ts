/** A whole history to a verdict: each partition alone, the first that offends shrunk to what matters. */
import type { Operation, SequentialModel } from './operation.js';
import { searchOrder } from './search.js';
import { type Offence, shrink } from './shrink.js';

export type Verdict<Input, Output> =
  | { kind: 'linearizable'; operations: number; partitions: number }
  | ({ kind: 'violation'; partition: string } & Offence<Input, Output>)
  /** Neither proved nor refuted: some partition needs more steps than allowed. */
  | { kind: 'undecided'; partition: string; stepsMax: number };

const defaultStepsMax = 2_000_000;
/** For each of the many smaller histories tried: one that takes longer is not worth it. */
const shrinkStepsMax = 20_000;

export function judge<State, Input, Output>(
  model: SequentialModel<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
  stepsMax = defaultStepsMax,
): Verdict<Input, Output> {
  const partitions = new Map<string, Operation<Input, Output>[]>();
  for (const operation of history) {
    const partition = model.partition(operation.input);
    const known = partitions.get(partition);
    if (known === undefined) partitions.set(partition, [operation]);
    else known.push(operation);
  }
  let undecided: string | undefined;
  for (const [partition, operations] of partitions) {
    const result = searchOrder(model, operations, stepsMax);
    if (result === 'limit') undecided ??= partition;
    if (result === 'violation')
      return { kind: 'violation', partition, ...shrink(model, operations, shrinkStepsMax) };
  }
  if (undecided !== undefined) return { kind: 'undecided', partition: undecided, stepsMax };
  return { kind: 'linearizable', operations: history.length, partitions: partitions.size };
}

/** For people: the verdict in one sentence, an offence with one line per operation. */
export function describeVerdict<State, Input, Output>(
  model: SequentialModel<State, Input, Output>,
  verdict: Verdict<Input, Output>,
): string {
  switch (verdict.kind) {
    case 'linearizable':
      return `linearizable: ${verdict.operations} operations on ${verdict.partitions} keys`;
    case 'undecided':
      return `undecided: key ${verdict.partition} needs more than ${verdict.stepsMax} steps`;
    case 'violation': {
      const lines = verdict.operations.map(({ client, input, invokedAt, answer }) => {
        const span = `${invokedAt} to ${answer?.at ?? 'never'}`;
        return `  ${span.padEnd(16)} ${client.padEnd(8)} ${model.describe(input, answer?.output)}`;
      });
      return [
        `not linearizable: key ${verdict.partition}. No order of these operations gives these answers,`,
        `whatever ${verdict.free.length} other writes did (moments of call and answer, client, operation):`,
        ...lines,
      ].join('\n');
    }
  }
}
