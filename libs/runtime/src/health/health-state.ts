/** Docker's health states as a pure machine: a probe's result and the time go in, the next state comes out. */
import type { ContainerHealth, HealthState } from '../port.js';

export interface ProbeResult {
  startMs: number;
  endMs: number;
  /** -1: it ran out of time, or could not be started. */
  exitCode: number;
  output: string;
}

const resultsKept = 5;
export const probeOutputBytesMax = 4096;

export const noHealth: HealthState = { status: 'none', failingStreak: 0, log: [] };
export const startingHealth: HealthState = { status: 'starting', failingStreak: 0, log: [] };

/** While starting, failures inside the start period do not count; one success ends it. */
export function afterProbe(
  state: HealthState,
  result: ProbeResult,
  health: ContainerHealth,
  startedAtMs: number,
): HealthState {
  const log = [...state.log, result].slice(-resultsKept);
  if (result.exitCode === 0) return { status: 'healthy', failingStreak: 0, log };
  const isForgiven = state.status === 'starting' && result.startMs - startedAtMs < health.startPeriodMs;
  const failingStreak = isForgiven ? state.failingStreak : state.failingStreak + 1;
  const isOut = failingStreak >= Math.max(1, health.retries);
  return { status: isOut ? 'unhealthy' : state.status, failingStreak, log };
}

/** Most programs serve this soon after their start or not for a while. */
const firstProbeMs = 20;

/**
 * How long after the last probe, or the start, the next one begins. In the start period a failure costs nothing and a
 * success is waited for, so a young container is looked at whenever its age has doubled, until the start interval is
 * the shorter wait.
 */
export function probeDelayMs(
  state: HealthState,
  health: ContainerHealth,
  times: { nowMs: number; startedAtMs: number },
): number {
  const ageMs = times.nowMs - times.startedAtMs;
  const isStarting = state.status === 'starting' && ageMs < health.startPeriodMs;
  if (!isStarting) return Math.max(1, health.intervalMs);
  return Math.max(1, Math.min(health.startIntervalMs, health.intervalMs, Math.max(firstProbeMs, ageMs)));
}

/** The argv of a test; undefined when nothing is to be tested. */
export function probeCommand(test: readonly string[]): string[] | undefined {
  const [kind, ...rest] = test;
  if (kind === undefined || kind === 'NONE' || rest.length === 0) return undefined;
  return kind === 'CMD-SHELL' ? ['/bin/sh', '-c', ...rest] : rest;
}

/** What Docker keeps of a probe's output. */
export function truncateOutput(output: Buffer, isMore: boolean): string {
  const kept = output.subarray(0, probeOutputBytesMax).toString('utf8');
  return isMore || output.length > probeOutputBytesMax ? `${kept}...` : kept;
}
