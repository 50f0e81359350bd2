import { expect } from 'chai';
import type { ContainerHealth, HealthState } from '../port.js';
import { afterProbe, probeCommand, probeDelayMs, startingHealth, truncateOutput } from './health-state.js';

const health: ContainerHealth = {
  test: ['CMD', 'x'],
  intervalMs: 30_000,
  timeoutMs: 1_000,
  startPeriodMs: 60_000,
  startIntervalMs: 5_000,
  retries: 3,
};

function run(results: readonly [startMs: number, exitCode: number][], from = startingHealth): HealthState {
  return results.reduce(
    (state, [startMs, exitCode]) =>
      afterProbe(state, { startMs, endMs: startMs + 1, exitCode, output: '' }, health, 0),
    from,
  );
}

describe('health', () => {
  it('forgives failures in the start period, and no longer after the first success', () => {
    expect(
      run([
        [1, 1],
        [2, 1],
        [3, 1],
        [4, 1],
      ]),
    ).to.deep.include({ status: 'starting', failingStreak: 0 });
    expect(
      run([
        [1, 0],
        [2, 1],
      ]),
    ).to.deep.include({ status: 'healthy', failingStreak: 1 });
    expect(
      run([
        [1, 0],
        [2, 1],
        [3, 1],
        [4, 1],
      ]),
    ).to.deep.include({ status: 'unhealthy', failingStreak: 3 });
    expect(
      run([
        [60_000, 1],
        [60_001, 1],
        [60_002, 1],
      ]),
    ).to.deep.include({ status: 'unhealthy' });
  });
  it('comes back with one success and keeps five results', () => {
    const state = run([
      [1, 0],
      [2, 1],
      [3, 1],
      [4, 1],
      [5, 1],
      [6, 0],
    ]);
    expect(state).to.deep.include({ status: 'healthy', failingStreak: 0 });
    expect(state.log.map(({ startMs }) => startMs)).to.deep.equal([2, 3, 4, 5, 6]);
  });
  it('probes faster while starting', () => {
    const delay = (state: HealthState, nowMs: number): number =>
      probeDelayMs(state, health, { nowMs, startedAtMs: 0 });
    expect(delay(startingHealth, 10_000)).to.equal(5_000);
    expect(delay(startingHealth, 60_000)).to.equal(30_000);
    expect(delay({ ...startingHealth, status: 'healthy' }, 1)).to.equal(30_000);
  });
  it('looks at a young container whenever its age has doubled, when a failure costs nothing', () => {
    const probesAtMs = (within: ContainerHealth): number[] => {
      const times: number[] = [];
      for (let nowMs = 0; nowMs < 16_000; times.push(nowMs))
        nowMs += probeDelayMs(startingHealth, within, { nowMs, startedAtMs: 0 });
      return times;
    };
    expect(probesAtMs(health)).to.deep.equal([
      20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_120, 10_120, 15_120, 20_120,
    ]);
    expect(probesAtMs({ ...health, startPeriodMs: 0 })).to.deep.equal([30_000]);
    expect(probesAtMs({ ...health, startIntervalMs: 5 }).slice(0, 3)).to.deep.equal([5, 10, 15]);
  });
  it('knows what to run', () => {
    expect(probeCommand(['CMD-SHELL', 'a && b'])).to.deep.equal(['/bin/sh', '-c', 'a && b']);
    expect(probeCommand(['CMD', 'a', 'b'])).to.deep.equal(['a', 'b']);
    expect(probeCommand(['NONE'])).to.equal(undefined);
    expect(probeCommand([])).to.equal(undefined);
  });
  it('keeps 4096 bytes of output', () => {
    expect(truncateOutput(Buffer.from('short'), false)).to.equal('short');
    expect(truncateOutput(Buffer.alloc(5_000, 'x'), false)).to.equal(`${'x'.repeat(4_096)}...`);
  });
});
