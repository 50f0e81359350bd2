/** What a client asked for, what it was told, and when: the material that is judged. */

export interface Operation<Input, Output> {
  client: string;
  input: Input;
  /** Position of the call and of the answer in one order of events; no two are equal. */
  invokedAt: number;
  /** Absent when no answer came: the operation took effect at any later moment, or never. */
  answer?: { at: number; output: Output };
}

/** A sequential object: what the cluster must look like to its clients. */
export interface SequentialModel<State, Input, Output> {
  initial: State;
  /**
   * The state after the operation, or undefined when such an answer cannot be given in this state. Without an
   * output, any answer will do. States that are the same must be the same value (`===`) or have the same `stateKey`.
   */
  step(state: State, input: Input, output: Output | undefined): State | undefined;
  stateKey(state: State): string;
  /** Operations of different partitions cannot see each other; each partition is judged alone. */
  partition(input: Input): string;
  /** True when the operation changes nothing, whatever the state: leaving it out can only hide an offence. */
  isObservation(input: Input, output: Output | undefined): boolean;
  /**
   * For the operations of one partition: could an operation without an answer, that took the state from `before` to
   * `after`, explain any answer? False only when leaving it out would explain as much. It keeps the search small.
   */
  relevance(
    operations: readonly Operation<Input, Output>[],
  ): (change: { before: State; after: State }) => boolean;
  describe(input: Input, output: Output | undefined): string;
}
