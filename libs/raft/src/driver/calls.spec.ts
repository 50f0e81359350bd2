import { isEnxameError } from '#libs/model';
import { expect } from 'chai';
import type { Input, Membership } from '../core/types.js';
import type { PeerMessage } from '../port.js';
import { defaultLimits } from '../port.js';
import { Calls, type CallsHost } from './calls.js';

/** A member whose core and leader are in the hands of the test. */
class Host implements CallsHost {
  readonly id = 'a';
  readonly limits = defaultLimits;
  readonly steps: Input[] = [];
  readonly sent: PeerMessage[] = [];
  leading: 'self' | 'b' | undefined = 'self';

  step(input: Input): void {
    this.steps.push(input);
  }
  send(_to: string, message: PeerMessage): void {
    this.sent.push(message);
  }
  leader(): 'self' | 'b' | undefined {
    return this.leading;
  }
  membership(): Membership {
    return { voters: ['a', 'b'], outgoing: [], learners: [], learnersNext: [], autoLeave: false };
  }
  appliedIndex(): number {
    return 0;
  }
  isRemoved(): boolean {
    return false;
  }
  peers(): [] {
    return [];
  }
  failure(): undefined {
    return undefined;
  }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('raft driver: a change of membership that is asked for again', () => {
  let host: Host;
  let calls: Calls;
  let result: Promise<string>;

  beforeEach(() => {
    host = new Host();
    calls = new Calls(host);
  });

  function ask(): void {
    result = calls.changeMembership([{ kind: 'add-learner', id: 'c' }]).then(
      () => 'done',
      (error: unknown) => (isEnxameError(error) ? error.code : 'internal'),
    );
  }
  const refuse = (reason: 'membership-invalid' | 'not-leader'): void => {
    const last = host.steps.at(-1) as Extract<Input, { kind: 'propose-membership' }>;
    calls.refused({ kind: 'refused', ref: last.ref, reason } as Parameters<Calls['refused']>[0]);
  };
  const place = (): void => {
    const last = host.steps.at(-1) as Extract<Input, { kind: 'propose-membership' }>;
    calls.placed(last.ref, 7);
  };
  async function tick(): Promise<void> {
    await settled();
    calls.tick();
    await settled();
  }
  const answer = (code: 'not-manager' | 'unavailable' | 'failed-precondition'): void => {
    const last = host.sent.at(-1) as Extract<PeerMessage, { kind: 'call' }>;
    calls.answered({ kind: 'answer', ref: last.ref, error: { code, message: 'words' } });
  };

  it('is refused by a rule where no attempt was placed', async () => {
    ask();
    refuse('not-leader');
    await tick();
    refuse('membership-invalid');
    expect(await result).to.equal('failed-precondition');
  });

  it('is unavailable where a rule refuses it after an attempt was placed', async () => {
    ask();
    place();
    calls.leaderChanged();
    await tick();
    refuse('membership-invalid');
    expect(await result).to.equal('unavailable');
  });

  it('is refused by a rule where the member that was asked did not lead', async () => {
    host.leading = 'b';
    ask();
    answer('not-manager');
    await tick();
    answer('failed-precondition');
    expect(await result).to.equal('failed-precondition');
  });

  for (const [what, lose] of [
    ['says that it does not know', () => answer('unavailable')],
    ['is not the leader any more', () => calls.leaderChanged()],
    [
      'never answers',
      () => {
        for (let ticks = 0; ticks <= defaultLimits.callRetryTicks; ticks++) calls.tick();
      },
    ],
  ] as [string, () => void][]) {
    it(`is unavailable where a rule refuses it after the leader that was asked ${what}`, async () => {
      host.leading = 'b';
      ask();
      lose();
      await tick();
      expect(host.sent).to.have.length(2);
      answer('failed-precondition');
      expect(await result).to.equal('unavailable');
    });
  }

  it('tells another member whether its change was begun', async () => {
    const call = { kind: 'change-membership' as const, changes: [{ kind: 'add-learner' as const, id: 'c' }] };
    for (const [begin, code] of [
      [() => refuse('not-leader'), 'not-manager'],
      [() => (place(), calls.leaderChanged()), 'unavailable'],
      [() => refuse('membership-invalid'), 'failed-precondition'],
    ] as const) {
      const called = calls.called('b', 1, call);
      begin();
      await called;
      expect(host.sent.at(-1)).to.have.nested.property('error.code', code);
    }
  });
});
