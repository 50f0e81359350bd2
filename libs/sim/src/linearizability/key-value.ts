/** The object that clients of the simulation, and of the end-to-end tests, see: a map from key to text. */
import type { SequentialModel } from './operation.js';

export type KeyValueInput =
  | { op: 'get'; key: string }
  | { op: 'put'; key: string; value: string }
  /** Adds to the end of what is there. */
  | { op: 'append'; key: string; value: string }
  /** Replaces what is there if it is `expected`; null is "nothing there". */
  | { op: 'cas'; key: string; expected: string | null; value: string };

/** A get's value; a cas's success; null for put and append. */
export type KeyValueOutput = string | boolean | null;

export const keyValueModel: SequentialModel<string | null, KeyValueInput, KeyValueOutput> = {
  initial: null,
  step(state, input, output) {
    switch (input.op) {
      case 'get':
        return output === undefined || output === state ? state : undefined;
      case 'put':
        return input.value;
      case 'append':
        return (state ?? '') + input.value;
      case 'cas': {
        const matches = state === input.expected;
        if (output !== undefined && output !== matches) return undefined;
        return matches ? input.value : state;
      }
    }
  },
  stateKey: (state) => (state === null ? '-' : `=${state}`),
  partition: ({ key }) => key,
  isObservation: (input, output) => input.op === 'get' || (input.op === 'cas' && output === false),
  relevance(operations) {
    const seen: string[] = [];
    const notSeen: string[] = [];
    for (const { input, answer } of operations) {
      if (input.op === 'get' && typeof answer?.output === 'string') seen.push(answer.output);
      if (input.op !== 'cas' || input.expected === null) continue;
      if (answer?.output === false) notSeen.push(input.expected);
      else seen.push(input.expected);
    }
    const nothingIsUnseen = operations.some(
      ({ input, answer }) => input.op === 'cas' && input.expected === null && answer?.output === false,
    );
    // Until the next put, the state only grows at its end. So it can be seen only if it begins what is seen, and it
    // can keep a cas from succeeding only if what was there before could have become what that cas expects.
    return ({ before, after }) => {
      if (before === after) return false;
      if (before === null && nothingIsUnseen) return true;
      return (
        seen.some((value) => value.startsWith(after ?? '')) ||
        notSeen.some((value) => value.startsWith(before ?? ''))
      );
    };
  },
  describe(input, output) {
    const told = output === undefined ? 'no answer' : JSON.stringify(output);
    switch (input.op) {
      case 'get':
        return `get ${input.key} -> ${told}`;
      case 'put':
      case 'append':
        return `${input.op} ${input.key} ${JSON.stringify(input.value)} -> ${output === undefined ? told : 'ok'}`;
      case 'cas':
        return `cas ${input.key} ${JSON.stringify(input.expected)} to ${JSON.stringify(input.value)} -> ${told}`;
    }
  },
};
