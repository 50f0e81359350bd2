import { expect } from 'chai';
import { SeededRandom } from '../random.js';
import { formatHistory, HistoryRecorder, parseHistory, toOperations } from './history.js';
import { describeVerdict, judge } from './judge.js';
import { type KeyValueInput, type KeyValueOutput, keyValueModel } from './key-value.js';
import type { Operation } from './operation.js';

type KeyValueOperation = Operation<KeyValueInput, KeyValueOutput>;

/** `client call-answer op key args = output`; an answer of `?` never came. One operation per line. */
function history(text: string): KeyValueOperation[] {
  const lines = text.trim().split('\n');
  return lines.map((line) => {
    const [client = '', span = '', op, key = '', ...rest] = line.trim().split(/\s+/);
    const [call, answer] = span.split('-');
    const args = rest.join(' ').split('=');
    const words = (args[0] ?? '').trim().split(' ');
    const told = args[1]?.trim();
    const input = { op, key, ...fields(op ?? '', words) } as KeyValueInput;
    const output = told === 'true' ? true : told === 'false' ? false : told === 'nil' ? null : (told ?? null);
    return {
      client,
      input,
      invokedAt: Number(call),
      ...(answer === '?' ? {} : { answer: { at: Number(answer), output } }),
    };
  });
}

function fields(op: string, words: string[]): object {
  if (op === 'cas') return { expected: words[0] === 'nil' ? null : words[0], value: words[1] };
  return op === 'get' ? {} : { value: words[0] };
}

const good: Record<string, string> = {
  'one after the other': `
    a 1-2 get x = nil
    a 3-4 put x 1
    b 5-6 get x = 1
    b 7-8 cas x 1 2 = true
    a 9-10 cas x 1 3 = false
    a 11-12 append x 9
    b 13-14 get x = 29`,
  'a read beside a write sees either': `
    a 1-10 put x 1
    b 2-3 get x = nil
    b 4-5 get x = 1`,
  'writes beside each other take any order, the same for all': `
    a 1-10 put x 1
    b 2-9 put x 2
    c 11-12 get x = 1
    d 13-14 get x = 1`,
  'a lost write that never took effect': `
    a 1-2 put x 1
    b 3-? put x 2
    c 10-11 get x = 1
    c 12-13 get x = 1`,
  'a lost write that took effect long after': `
    a 1-2 put x 1
    b 3-? put x 2
    c 10-11 get x = 1
    c 12-13 put x 3
    c 14-15 get x = 3
    c 16-17 get x = 2`,
  'a lost append between two others': `
    a 1-2 append x 1
    b 3-? append x 2
    a 4-5 append x 3
    c 6-7 get x = 123`,
  'a lost cas that succeeded': `
    a 1-2 put x 1
    b 3-? cas x 1 2
    c 4-5 get x = 2`,
  'keys do not see each other': `
    a 1-2 put x 1
    b 3-4 get y = nil
    b 5-6 get x = 1`,
  'a lost read binds nobody': `
    a 1-2 put x 1
    b 3-? get x
    a 4-5 get x = 1`,
};

/** With the operations that must be left when the offence is as small as it can be. */
const bad: Record<string, { of: string; left: string[] }> = {
  'a stale read': {
    of: `
    a 1-2 put x 1
    a 3-4 put x 2
    b 5-6 get x = 1
    b 7-8 get x = 2`,
    left: ['put x "1" -> ok', 'put x "2" -> ok', 'get x -> "1"'],
  },
  'a lost update: two increments on the same value': {
    of: `
    a 1-2 put x 1
    a 3-6 cas x 1 2 = true
    b 4-7 cas x 1 3 = true
    c 8-9 get x = 3`,
    left: ['cas x "1" to "2" -> true', 'cas x "1" to "3" -> true'],
  },
  'an acknowledged write that is gone': {
    of: `
    a 1-2 append x 1
    b 3-4 append x 2
    c 5-6 get x = 1`,
    left: ['append x "2" -> ok', 'get x -> "1"'],
  },
  'a read of a write that was taken back': {
    of: `
    a 1-2 put x 1
    b 3-? put x 2
    c 4-5 get x = 2
    c 6-7 get x = 1`,
    left: ['put x "1" -> ok', 'get x -> "2"', 'get x -> "1"'],
  },
  'reordered appends': {
    of: `
    a 1-2 append x 1
    a 3-4 append x 2
    b 5-6 get x = 21`,
    left: ['append x "1" -> ok', 'get x -> "21"'],
  },
  'two readers who disagree on the order of two writes': {
    of: `
    a 1-20 put x 1
    b 2-21 put x 2
    c 3-4 get x = 1
    c 5-6 get x = 2
    d 7-8 get x = 1
    d 9-10 get x = 2`,
    left: ['get x -> "1"', 'get x -> "2"', 'get x -> "1"'],
  },
  'an append that was done twice': {
    of: `
    a 1-2 append x 1
    b 3-4 append x 2
    c 5-6 get x = 122`,
    left: ['get x -> "122"'],
  },
  'a lost write seen before it was asked for': {
    of: `
    c 1-2 get x = 2
    b 3-? put x 2`,
    left: ['get x -> "2"'],
  },
  'a lost write that took effect, and was then undone': {
    of: `
    a 1-2 put x 1
    b 3-? append x 2
    c 4-5 get x = 12
    d 6-7 get x = 1
    d 8-9 get x = 12`,
    left: ['get x -> "12"', 'get x -> "1"'],
  },
  'a cas that failed although nothing else was there': {
    of: `
    a 1-2 put x 1
    b 3-4 cas x 1 2 = false`,
    left: ['put x "1" -> ok', 'cas x "1" to "2" -> false'],
  },
};

describe('sim: linearizability', () => {
  for (const [name, text] of Object.entries(good)) {
    it(`accepts ${name}`, () => {
      expect(judge(keyValueModel, history(text)).kind).to.equal('linearizable');
    });
  }

  for (const [name, { of, left }] of Object.entries(bad)) {
    it(`refuses ${name}`, () => {
      const verdict = judge(keyValueModel, history(of));
      if (verdict.kind !== 'violation') throw new Error(`the verdict is ${verdict.kind}`);
      const described = verdict.operations.map(({ input, answer }) =>
        keyValueModel.describe(input, answer?.output),
      );
      expect(described).to.deep.equal(left);
    });
  }

  it('names a small offence inside a long history', () => {
    const random = new SeededRandom(1);
    const operations = drawLinearizable(random, { count: 400, clients: 5, lost: 0.1 });
    const reads = operations.filter(({ input, answer }) => input.op === 'get' && answer !== undefined);
    const late = reads.at(-20);
    if (late?.answer === undefined) throw new Error('no read to spoil');
    late.answer.output = 'never written';
    const verdict = judge(keyValueModel, operations);
    if (verdict.kind !== 'violation') throw new Error(`the verdict is ${verdict.kind}`);
    expect(verdict.operations).to.deep.equal([late]);
    expect(describeVerdict(keyValueModel, verdict)).to.match(
      /^not linearizable: key \w+\..*\n.*\n .* get \w -> "never written"$/,
    );
  });

  it('accepts every history of a system that is linearizable', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const random = new SeededRandom(seed);
      const operations = drawLinearizable(random, { count: 150, clients: 2 + random.below(6), lost: 0.15 });
      expect(judge(keyValueModel, operations).kind, `seed ${seed}`).to.equal('linearizable');
    }
  });

  it('agrees with trying every order, on short histories of arbitrary answers', () => {
    let refused = 0;
    for (let seed = 1; seed <= 3000; seed++) {
      const random = new SeededRandom(seed);
      const operations = drawArbitrary(random, 2 + random.below(4));
      const expected = someOrderExplains(operations) ? 'linearizable' : 'violation';
      if (expected === 'violation') refused++;
      expect(judge(keyValueModel, operations).kind, `seed ${seed}`).to.equal(expected);
    }
    expect(refused).to.be.within(500, 2500);
  });

  it('says when it gave up', () => {
    const operations = drawLinearizable(new SeededRandom(3), { count: 100, clients: 4, lost: 0.2 });
    const verdict = judge(keyValueModel, operations, 10);
    expect(verdict.kind).to.equal('undecided');
    expect(describeVerdict(keyValueModel, verdict)).to.match(/^undecided: key \w needs more than 10 steps$/);
  });
});

describe('sim: recorded histories', () => {
  it('come back from their lines, and mean what was recorded', () => {
    const seen: unknown[] = [];
    const recorder = new HistoryRecorder((event) => seen.push(event));
    const write = recorder.call('c1', { op: 'put', key: 'a', value: 'x' });
    const read = recorder.call('c2', { op: 'get', key: 'a' });
    recorder.answer(write, null);
    recorder.call('c3', { op: 'cas', key: 'a', expected: null, value: 'y' });
    recorder.refused(read);
    expect(seen).to.deep.equal(recorder.events);
    const events = parseHistory(formatHistory(recorder.events));
    expect(events).to.deep.equal(recorder.events);
    expect(toOperations(events)).to.deep.equal([
      {
        client: 'c1',
        input: { op: 'put', key: 'a', value: 'x' },
        invokedAt: 0,
        answer: { at: 2, output: null },
      },
      { client: 'c3', input: { op: 'cas', key: 'a', expected: null, value: 'y' }, invokedAt: 3 },
    ]);
  });

  it('may end in the middle of a line, as their recorder may', () => {
    const recorder = new HistoryRecorder();
    recorder.answer(recorder.call('c1', { op: 'append', key: 'a', value: 'x' }), null);
    const text = formatHistory(recorder.events);
    const [operation] = toOperations(parseHistory(text.slice(0, -4)));
    expect(operation?.answer).to.equal(undefined);
    expect(toOperations(parseHistory(text.trimEnd()))[0]?.answer).to.deep.equal({ at: 1, output: null });
  });

  for (const [line, rule] of [
    ['{', 'is not JSON'],
    ['7', 'is not an object'],
    ['{"event":"answer"}', 'id must be a number'],
    ['{"id":1,"event":"done"}', 'event must be call, answer or refused'],
    ['{"id":1,"event":"answer","output":3}', 'output must be a string, a boolean or null'],
    ['{"id":1,"event":"call","client":"c","op":"del","key":"a"}', 'op must be get, put, append or cas'],
    ['{"id":1,"event":"call","client":"c","op":"put","key":"a"}', 'value must be a string'],
    [
      '{"id":1,"event":"call","client":"c","op":"cas","key":"a","value":"b"}',
      'expected must be a string or null',
    ],
  ] as const) {
    it(`refuse ${line} and say why`, () => {
      expect(() => parseHistory(`\n${line}\n`)).to.throw(`history line 2: ${rule}`);
    });
  }

  it('refuse an answer to nothing, and two answers', () => {
    expect(() => toOperations([{ id: 1, event: 'answer', output: null }])).to.throw(
      'history: answer of operation 1: nothing was called under this id',
    );
    const recorder = new HistoryRecorder();
    const id = recorder.call('c', { op: 'get', key: 'a' });
    recorder.answer(id, null);
    recorder.answer(id, null);
    expect(() => toOperations(recorder.events)).to.throw(
      'history: answer of operation 1: the operation is over',
    );
  });
});

function drawInput(random: SeededRandom, value: string): KeyValueInput {
  const key = random.pick(['x', 'y']);
  switch (random.below(4)) {
    case 0:
      return { op: 'put', key, value };
    case 1:
      return { op: 'append', key, value };
    case 2:
      return { op: 'cas', key, expected: random.pick([null, value, '1', '2']), value };
    default:
      return { op: 'get', key };
  }
}

/** Clients of a map, each operation done at one moment between its call and its answer. */
function drawLinearizable(
  random: SeededRandom,
  { count, clients, lost }: { count: number; clients: number; lost: number },
): KeyValueOperation[] {
  const state = new Map<string, string | null>();
  const operations: KeyValueOperation[] = [];
  const running: { operation: KeyValueOperation; output?: KeyValueOutput; isDone: boolean; left: number }[] =
    [];
  const apply = (input: KeyValueInput): KeyValueOutput => {
    const before = state.get(input.key) ?? null;
    const output = input.op === 'get' ? before : input.op === 'cas' ? before === input.expected : null;
    const after = keyValueModel.step(before, input, output) ?? null;
    state.set(input.key, after);
    return output;
  };
  for (let at = 1; operations.length < count || running.length > 0; at++) {
    if (running.length < clients && operations.length < count && random.chance(0.5)) {
      const input = drawInput(random, String(at));
      if (input.op === 'append' && (state.get(input.key) ?? '').length > 4) continue;
      const operation: KeyValueOperation = { client: `c${random.below(clients)}`, input, invokedAt: at };
      operations.push(operation);
      running.push({ operation, isDone: false, left: random.chance(lost) ? 1 : 2 });
      continue;
    }
    const turn = running[random.below(Math.max(1, running.length))];
    if (turn === undefined) continue;
    if (!turn.isDone && (turn.left === 2 || random.chance(0.5))) {
      turn.output = apply(turn.operation.input);
      turn.isDone = true;
      continue;
    }
    if (turn.left === 2) turn.operation.answer = { at, output: turn.output ?? null };
    running.splice(running.indexOf(turn), 1);
  }
  return operations;
}

function drawArbitrary(random: SeededRandom, count: number): KeyValueOperation[] {
  const moments = Array.from({ length: count * 2 }, (_, i) => i + 1);
  const operations: KeyValueOperation[] = [];
  for (let i = 0; i < count; i++) {
    const [a, b] = [0, 0].map(() => moments.splice(random.below(moments.length), 1)[0] ?? 0) as [
      number,
      number,
    ];
    const input: KeyValueInput = { ...drawInput(random, random.pick(['1', '2'])), key: 'x' };
    const outputs: KeyValueOutput[] =
      input.op === 'get' ? [null, '1', '2', '12', '11'] : input.op === 'cas' ? [true, false] : [null];
    operations.push({
      client: 'c',
      input,
      invokedAt: Math.min(a, b),
      ...(random.chance(0.2) ? {} : { answer: { at: Math.max(a, b), output: random.pick(outputs) } }),
    });
  }
  return operations;
}

/** The definition itself: some order of some subset, that has every answered operation and keeps real time. */
function someOrderExplains(operations: readonly KeyValueOperation[]): boolean {
  const explains = (left: readonly KeyValueOperation[], state: string | null): boolean => {
    if (left.every(({ answer }) => answer === undefined)) return true;
    return left.some((operation) => {
      const isTooEarly = left.some((other) => (other.answer?.at ?? Infinity) < operation.invokedAt);
      if (isTooEarly) return false;
      const after = keyValueModel.step(state, operation.input, operation.answer?.output);
      return (
        after !== undefined &&
        explains(
          left.filter((other) => other !== operation),
          after,
        )
      );
    });
  };
  return explains(operations, null);
}
