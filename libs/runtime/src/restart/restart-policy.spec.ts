import { expect } from 'chai';
import type { RestartPolicy } from '../port.js';
import { isWantedAtStart, restartDelayMs, type EndedRun } from './restart-policy.js';

function run(policy: RestartPolicy['name'], change: Partial<EndedRun> = {}, retriesMax = 0): EndedRun {
  return {
    policy: { name: policy, retriesMax },
    restartCount: 0,
    exitCode: 1,
    ranMs: 5,
    lastDelayMs: undefined,
    stoppedByUser: false,
    ...change,
  };
}

describe('restart policies', () => {
  const table: [string, EndedRun, number | undefined, boolean][] = [
    ['no', run('no'), undefined, false],
    ['always', run('always', { exitCode: 0 }), 100, true],
    ['always, stopped by the user', run('always', { stoppedByUser: true }), undefined, true],
    ['unless-stopped', run('unless-stopped'), 100, true],
    ['unless-stopped, stopped by the user', run('unless-stopped', { stoppedByUser: true }), undefined, false],
    ['on-failure after success', run('on-failure', { exitCode: 0 }), undefined, false],
    ['on-failure without a limit', run('on-failure', { restartCount: 1000 }), 100, true],
    ['on-failure under its limit', run('on-failure', { restartCount: 2 }, 3), 100, true],
    ['on-failure at its limit', run('on-failure', { restartCount: 3 }, 3), undefined, false],
  ];
  for (const [what, ended, delayMs, atStart] of table) {
    it(what, () => {
      expect(restartDelayMs(ended)).to.equal(delayMs);
      expect(isWantedAtStart(ended)).to.equal(atStart);
    });
  }

  it('waits twice as long after each short run, at most a minute, and anew after a long one', () => {
    const delays: (number | undefined)[] = [];
    let lastDelayMs: number | undefined;
    for (let count = 0; count < 12; count++) {
      lastDelayMs = restartDelayMs(run('always', { lastDelayMs }));
      delays.push(lastDelayMs);
    }
    expect(delays).to.deep.equal([
      100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000,
    ]);
    expect(restartDelayMs(run('always', { lastDelayMs: 60_000, ranMs: 10_000 }))).to.equal(100);
  });
});
